// The audit with its verification.

import { announce, el, fill, heading, list, loading, problemBox, showIn, tableRow } from "./dom.js";
import { query } from "./api.js";
import { COLUMNS, DAY, readRecords, recordQuery, showRecords, since } from "./records.js";
import { listen } from "./stream.js";

const TIMES = [["hour", "Last hour", DAY / 24], ["day", "Last day", DAY], ["week", "Last 7 days", 7 * DAY], ["month", "Last 30 days", 30 * DAY], ["all", "All", undefined]];

export function showAudit(main, { api, parameters, signal, go }) {
  const filter = Object.fromEntries(["path", "below", "principal", "event"].map((name) => [name, parameters.get(name) ?? ""]));
  const chosen = TIMES.find(([name]) => name === parameters.get("time")) ?? TIMES[1];
  const { event, ...rest } = filter;
  const asked = { ...rest, events: event.split(/[\s,]+/).filter((name) => name !== "") };
  const found = el("div", { class: "results" });
  const verified = el("div", { class: "verification" });
  fill(main,
    heading("Audit", "Each decision, in a chain that shows when a record was changed or removed. Reading it is recorded, too."),
    filters(filter, chosen, go),
    el("div", { class: "bar" }, followButton(api, asked, found, signal), verified),
    found);
  showVerification(api, verified, signal);
  return showIn(found, "the audit", readRecords(api, { ...asked, since: chosen[2] && since(chosen[2]) }, signal).then(({ records, more }) => showRecords(records, more)), signal);
}

function filters(filter, chosen, go) {
  const type = (id, label, hint) => el("div", { class: "field" },
    el("label", { for: `of-${id}` }, label),
    el("input", { id: `of-${id}`, type: "text", value: filter[id], placeholder: hint, autocapitalize: "off", spellcheck: "false" }));
  const form = el("form", { class: "filters", role: "search", "aria-label": "Filter records", submit: (event) => {
    event.preventDefault();
    const of = (id) => form.querySelector(`#of-${id}`).value.trim();
    go(query("#/audit", { path: of("path"), below: of("below"), principal: of("principal"), event: of("event"), time: of("time") }));
  } },
  type("path", "Path", "openai/api-key"),
  type("below", "Below", "production"),
  type("principal", "Who", "agent:assistant"),
  type("event", "Event", "vault.denied"),
  el("div", { class: "field" }, el("label", { for: "of-time" }, "Time"),
    el("select", { id: "of-time" }, TIMES.map(([name, label]) => el("option", { value: name, selected: name === chosen[0] }, label)))),
  el("div", { class: "buttons" },
    el("button", { class: "primary", type: "submit" }, "Filter"),
    el("a", { class: "button quiet", href: "#/audit" }, "Clear")));
  return form;
}

// A button that checks the chain. It is shown where the server can do so, and the caller may ask.
async function showVerification(api, place, signal) {
  try {
    await api.get("/v1/audit/checkpoint", { signal });
  } catch {
    return;
  }
  const result = el("div", { "aria-live": "polite" });
  const button = el("button", { type: "button", class: "quiet", click: async () => {
    button.disabled = true;
    fill(result, loading("the whole audit"));
    try {
      const answer = await api.post("/v1/audit/verify", {}, { signal });
      fill(result, el("div", { class: "notice good" }, el("strong", {}, "The chain is intact."), facts(answer)));
    } catch (problem) {
      if (!signal.aborted) fill(result, problemBox(problem));
    }
    button.disabled = false;
    button.focus();
  } }, "Verify the audit");
  if (!signal.aborted) fill(place, button, result);
}

const facts = (answer) => list(Object.entries(answer ?? {}).map(([name, value]) =>
  [name.replaceAll("_", " "), typeof value === "object" && value !== null ? JSON.stringify(value) : value]));

// Puts new records on top as they come, where the server tells of them.
function followButton(api, filter, found, signal) {
  let following;
  const button = el("button", { type: "button", class: "quiet", "aria-pressed": "false", click: () => {
    if (following !== undefined) {
      following.abort();
      following = undefined;
      button.setAttribute("aria-pressed", "false");
      fill(button, "Follow");
      return;
    }
    following = new AbortController();
    button.setAttribute("aria-pressed", "true");
    fill(button, "Stop following");
    listen(api, recordQuery("/v1/events", filter), AbortSignal.any([signal, following.signal]), (told) => add(found, told)).then((exists) => {
      if (exists) return;
      announce("This server does not tell of new records.");
      button.hidden = true;
    });
  } }, "Follow");
  return button;
}

function add(found, { data: text }) {
  let record;
  try {
    record = JSON.parse(text);
  } catch {
    return;
  }
  if (record?.seq === undefined) return;
  found.querySelector("tbody")?.prepend(tableRow(COLUMNS, record));
}
