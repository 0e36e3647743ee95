// Records of the audit.

import { badge, brief, data, el, muted, table, time } from "./dom.js";
import { query } from "./api.js";
import { count } from "./text.js";

// The server gives pages of 1,000 records, oldest first. The page reads this many, and shows the newest.
const PAGE = 1_000;
const MAX_PAGES = 10;
const SHOWN = 200;

export const DAY = 86_400_000;

// The records that match, newest first, and whether there are more.
export async function readRecords(api, filter, signal) {
  const records = [];
  let after;
  for (let page = 0; page < MAX_PAGES; page += 1) {
    const answer = await api.get(recordQuery("/v1/audit", { ...filter, after, limit: PAGE }), { signal });
    records.push(...answer.records);
    if (answer.records.length < PAGE) return { records: records.reverse(), more: false };
    after = answer.records.at(-1).seq;
  }
  return { records: records.reverse(), more: true };
}

// The URL of a resource with a filter of records.
export function recordQuery(path, { events = [], ...rest }) {
  return query(path, rest, events.map((event) => ["event", event]));
}

export const since = (milliseconds) => new Date(Date.now() - milliseconds).toISOString();

// A table of the records of the last day.
export async function recordsTable(api, filter, signal) {
  const { records, more } = await readRecords(api, { since: since(DAY), ...filter }, signal);
  return showRecords(records, more);
}

export function showRecords(records, more) {
  const shown = records.slice(0, SHOWN);
  const caption = records.length > SHOWN ? `The newest ${SHOWN} of ${records.length} records` : count(records.length, "record");
  return [
    more && el("p", { class: "notice" }, `There are more than ${PAGE * MAX_PAGES} records in this time, and the newest are not shown. Choose a shorter time, or a filter.`),
    table({ caption, columns: COLUMNS, rows: shown, empty: "No record in this time." }),
  ];
}

export const COLUMNS = [
  { label: "Number", cell: ({ seq }) => data(seq, "mono") },
  { label: "Time", cell: (record) => time(record.time, { from: false }) },
  { label: "Event", head: true, cell: ({ event, details }) => [badge(event, kind(event, details)), outcome(details)] },
  { label: "Who", cell: ({ principal, presented_by: by }) => [brief(principal), by !== undefined && [" by ", brief(by)]] },
  { label: "Path", cell: ({ path }) => (path === undefined ? muted("–") : data(path, "path")) },
  { label: "More", cell: more },
];

function kind(event, details = {}) {
  if (event.endsWith("denied") || event.endsWith("failed") || event.endsWith("expired") || event === "rotation.orphaned") return "bad";
  if (details.outcome !== undefined && details.outcome !== "allowed") return "warn";
  return "plain";
}

function outcome(details = {}) {
  const what = [details.action, details.denial ?? (details.outcome === "allowed" ? undefined : details.outcome)];
  const set = what.filter((text) => typeof text === "string");
  return set.length > 0 && [" ", data(set.join(" · "), "muted")];
}

function more({ seq, reason, request_id: request, token, details }) {
  const all = { ...(reason && { reason }), ...(request && { request_id: request }), ...(token && { token }), ...details };
  return el("details", {},
    el("summary", {}, "Details", el("span", { class: "only-heard" }, ` of record ${seq}`)),
    el("dl", { class: "facts small" }, Object.entries(all).map(([name, value]) =>
      el("div", {}, el("dt", {}, name), el("dd", {}, data(typeof value === "string" ? value : JSON.stringify(value)))))));
}
