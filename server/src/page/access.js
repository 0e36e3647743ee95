// Grants and tokens.

import { resource } from "./api.js";
import { ACTION, announce, badge, brief, confirm, data, el, fill, heading, muted, problemBox, showIn, table, time } from "./dom.js";
import { count } from "./text.js";

export function showAccess(main, { api, signal }) {
  const grants = el("section", { "aria-labelledby": "grants" });
  const tokens = el("section", { "aria-labelledby": "tokens" });
  fill(main, heading("Access", "Who may do what. Grants and tokens are made with the API or the command line; here they can be ended."), grants, tokens);
  return Promise.all([
    section({ place: grants, id: "grants", title: "Grants", read: () => readGrants(api, signal), signal }),
    section({ place: tokens, id: "tokens", title: "Tokens", read: () => readTokens(api, signal), signal }),
  ]);
}

function section({ place, id, title, read, signal }) {
  const content = el("div");
  const state = el("div");
  fill(place, el("h2", { id }, title), state, content);
  const show = () => showIn(content, title.toLowerCase(), read().then(({ rows, columns, empty, end }) => table({
    caption: count(rows.length, title.toLowerCase().slice(0, -1)),
    columns: [...columns, { label: ACTION, cell: (row) => endButton({ end, row, state, show }) }],
    rows,
    empty,
  })), signal);
  return show();
}

// A button that ends one grant or token, after a question.
function endButton({ end, row, state, show }) {
  return el("button", { type: "button", class: "danger small", click: async () => {
    if (!await confirm(end.title, end.text(row), end.action)) return;
    fill(state);
    try {
      await end.run(row);
      announce(end.done);
      await show();
    } catch (problem) {
      fill(state, problemBox(problem));
    }
    document.getElementById("title")?.focus();
  } }, end.action, el("span", { class: "only-heard" }, ` ${end.name(row)}`));
}

const scopes = ({ scopes: all }) => el("ul", { class: "scopes" }, all.map((scope) => el("li", {}, data(scope, "mono"))));
const made = ({ created_at: at, created_by: by }) => [time(at, { from: false }), el("p", { class: "muted" }, "by ", brief(by))];
const why = ({ reason }) => data(reason);
const ends = ({ expires_at: at }) => {
  if (at === undefined) return muted("never");
  return Date.parse(at) <= Date.now() ? [badge("ended", "bad"), " ", time(at)] : time(at);
};

async function readGrants(api, signal) {
  const { grants } = await api.get("/v1/grants", { signal });
  return {
    rows: grants,
    empty: "There are no grants that this token may see.",
    columns: [
      { label: "Who", head: true, cell: ({ subject }) => data(subject) },
      { label: "May", cell: scopes },
      { label: "Ends", cell: ends },
      { label: "Made", cell: made },
      { label: "Reason", cell: why },
    ],
    end: {
      title: "Delete this grant?",
      text: ({ subject, scopes: all }) => [data(subject), " can no longer use ", data(all.join(", "), "mono"), ". This cannot be undone."],
      action: "Delete",
      name: ({ subject }) => `the grant of ${subject}`,
      done: "The grant is deleted.",
      run: ({ id }) => api.delete(resource("grants", id), { signal }),
    },
  };
}

async function readTokens(api, signal) {
  const { tokens } = await api.get("/v1/tokens", { signal });
  return {
    rows: tokens,
    empty: "There are no tokens.",
    columns: [
      { label: "Token", head: true, cell: ({ id, person }) => [el("span", { class: "mono" }, brief(id)), person !== undefined && [" of ", data(typeof person === "string" ? person : JSON.stringify(person))]] },
      { label: "May", cell: scopes },
      { label: "Ends", cell: (token) => [ends(token), limits(token)] },
      { label: "Made", cell: made },
      { label: "Reason", cell: why },
    ],
    end: {
      title: "Revoke this token?",
      text: ({ id, reason }) => ["Requests with the token ", data(id, "mono"), " (", data(reason), ") are refused from now on. This cannot be undone."],
      action: "Revoke",
      name: ({ id }) => `the token ${id}`,
      done: "The token is revoked.",
      run: ({ id }) => api.delete(resource("tokens", id), { signal }),
    },
  };
}

function limits({ max_uses: uses, bound_to: workload, waives_sensitive: waives }) {
  const all = [
    uses !== undefined && el("li", {}, `${uses} use${uses === 1 ? "" : "s"}`),
    workload !== undefined && el("li", {}, "only for ", data(workload, "mono")),
    waives && el("li", {}, badge("needs no approval for sensitive secrets", "warn")),
  ].filter(Boolean);
  return all.length > 0 && el("ul", { class: "scopes" }, all);
}
