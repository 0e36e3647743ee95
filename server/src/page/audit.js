// The audit with its verification.

import { announce, el, fill, heading, loading, problemBox, showIn, tableRow } from "./dom.js";
import { query } from "./api.js";
import { COLUMNS, DAY, readRecords, recordQuery, showRecords, since } from "./records.js";
import { listen } from "./stream.js";
import { count } from "./text.js";

// How many records a tab keeps while it follows.
const MAX_ROWS = 1000;
const TIMES = [["hour", "Last hour", DAY / 24], ["day", "Last day", DAY], ["week", "Last 7 days", 7 * DAY], ["month", "Last 30 days", 30 * DAY], ["all", "All", undefined]];

export function showAudit(main, { api, parameters, signal, go }) {
  const filter = Object.fromEntries(["path", "below", "principal", "event"].map((name) => [name, parameters.get(name) ?? ""]));
  const chosen = TIMES.find(([name]) => name === parameters.get("time")) ?? TIMES[1];
  const { event, ...rest } = filter;
  const asked = { ...rest, events: event.split(/[\s,]+/).filter((name) => name !== "") };
  const found = el("div", { class: "results" });
  const { button, result } = verification(api, signal);
  fill(main,
    heading("Audit", "Each decision, in a chain that shows when a record was changed or removed. Reading it is recorded, too."),
    filters(filter, chosen, go),
    el("div", { class: "bar" }, followButton(api, asked, found, signal), button),
    result,
    found);
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

// A button that checks the chain, and the place of what it finds.
function verification(api, signal) {
  const result = el("div", { class: "verification", "aria-live": "polite" });
  const button = el("button", { type: "button", class: "quiet", click: async () => {
    if (button.getAttribute("aria-disabled") === "true") return;
    button.setAttribute("aria-disabled", "true");
    fill(result, loading("the whole audit"));
    try {
      const found = await api.post("/v1/audit/verify", {}, { signal });
      fill(result, intact(found));
    } catch (problem) {
      if (signal.aborted) return;
      fill(result, problem.isAbsent ? el("p", { class: "notice" }, "This server does not verify the audit over HTTP.") : problemBox(problem));
      button.hidden = problem.isAbsent;
    }
    button.removeAttribute("aria-disabled");
  } }, "Verify the audit");
  return { button, result };
}

// What was found. Without a checkpoint, nothing says how long the log has been.
function intact({ first, last, records, checkpoints_checked: checked, last_checkpointed: vouched }) {
  return el("div", { class: "notice good" },
    el("strong", {}, "No record was changed, removed or inserted."),
    el("p", {}, `Records ${first} to ${last} were checked: `, count(records, "record"), ". ",
      checked > 0
        ? `They agree with ${count(checked, "checkpoint")}${vouched === undefined ? "" : `, the newest of record ${vouched}`}.`
        : "They were compared with no checkpoint, so this does not show whether the end of the log was cut off."));
}

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

function add(found, { event, data: text }) {
  if (event === "listening") announce("New records appear on top.");
  let record;
  try {
    record = JSON.parse(text);
  } catch {
    return;
  }
  if (record?.seq === undefined) return;
  const rows = found.querySelector("tbody");
  if (rows === null) {
    fill(found, showRecords([record], false));
    return;
  }
  rows.prepend(tableRow(COLUMNS, record));
  while (rows.rows.length > MAX_ROWS) rows.lastElementChild.remove();
}
