// What expires soon, and what is to be rotated.

import { badge, data, el, fill, heading, loading, muted, problemBox, table, tier, time } from "./dom.js";
import { dates } from "./catalog.js";
import { link } from "./secrets.js";
import { DAY, readRecords, since } from "./records.js";
import { count, duration, exactly, relative } from "./text.js";

// The server lists no expiry, so each secret is described: this many are, at most.
const MAX = 200;
const SOON = 30 * DAY;

// The events that say where a rotation is.
const STAGES = ["expiring", "due", "started", "issued", "stored", "switched", "drained", "revoked", "revocation_failed", "orphaned", "finished", "failed"];

export async function showDue(main, { api, catalog, signal }) {
  const place = el("div", { class: "results" });
  fill(main, heading("Due", "What has expired or expires within 30 days, and when keys are to be rotated."), place);
  const progress = loading("the secrets");
  fill(place, progress);
  try {
    const { paths, more } = await catalog.list({}, MAX, signal);
    const all = [];
    const failed = [];
    await catalog.describeAll(paths, signal, (path, { described, problem }) => {
      (problem === undefined ? all : failed).push({ path, ...described });
      fill(progress, `${all.length + failed.length} of ${paths.length} secrets looked at…`);
    });
    const rotations = await lastRotations(api, signal);
    if (signal.aborted) return;
    fill(place,
      more && el("p", { class: "notice" }, `Only the first ${MAX} secrets are looked at.`),
      failed.length > 0 && el("p", { class: "notice" }, `This token may not see the metadata of ${failed.length} of them.`),
      expiring(all), rotating(all, rotations));
  } catch (problem) {
    if (!signal.aborted) fill(place, problemBox(problem));
  }
}

function expiring(all) {
  const soon = all.map((secret) => ({ ...secret, at: dates(secret).expires }))
    .filter(({ at }) => at !== undefined && at < Date.now() + SOON)
    .sort((one, other) => one.at - other.at);
  return el("section", { "aria-labelledby": "expiring" },
    el("h2", { id: "expiring" }, "Expires soon"),
    table({
      caption: count(soon.length, "secret"),
      columns: [
        { label: "Path", head: true, cell: ({ path }) => link(path) },
        { label: "State", cell: ({ at }) => (at <= Date.now() ? badge("expired", "bad") : badge(relative(at), at < Date.now() + 7 * DAY ? "warn" : "plain")) },
        { label: "Expires", cell: ({ at }) => time(at, { from: false }) },
        { label: "Tier", cell: ({ metadata }) => tier(metadata.tier) },
      ],
      rows: soon,
      empty: "Nothing expires within 30 days.",
    }));
}

function rotating(all, rotations) {
  const rows = all.filter(({ path, metadata }) => metadata.rotation_interval_seconds !== undefined || rotations.has(path))
    .map((secret) => ({ ...secret, due: dates(secret).due, last: rotations.get(secret.path) }))
    .sort((one, other) => (one.due ?? Infinity) - (other.due ?? Infinity));
  return el("section", { "aria-labelledby": "rotating" },
    el("h2", { id: "rotating" }, "Rotation"),
    table({
      caption: count(rows.length, "secret"),
      columns: [
        { label: "Path", head: true, cell: ({ path }) => link(path) },
        { label: "Every", cell: ({ metadata }) => (metadata.rotation_interval_seconds === undefined ? muted("–") : exactly(metadata.rotation_interval_seconds)) },
        { label: "Last changed", cell: ({ metadata }) => (metadata.updated_at === undefined ? muted("unknown") : time(metadata.updated_at, { from: false })) },
        { label: "Due", cell: ({ due }) => dueBadge(due) },
        { label: "Last step", cell: ({ last }) => lastStep(last) },
      ],
      rows,
      empty: "No secret has a rotation interval.",
    }));
}

function dueBadge(due) {
  if (due === undefined || Number.isNaN(due)) return muted("unknown");
  return due <= Date.now() ? badge(`overdue for ${duration((Date.now() - due) / 1000)}`, "bad") : badge(relative(due), due < Date.now() + DAY ? "warn" : "plain");
}

function lastStep(last) {
  if (last === undefined) return muted("none recorded");
  const stage = last.event.slice("rotation.".length);
  const isBad = ["failed", "orphaned", "revocation_failed"].includes(stage);
  const error = last.details?.error;
  return [badge(stage, isBad ? "bad" : stage === "finished" ? "good" : "plain"), " ", time(last.time), error !== undefined && el("p", { class: "muted" }, data(error))];
}

// The last step of each rotation within 30 days; none if the caller may not read the audit.
async function lastRotations(api, signal) {
  const filter = { since: since(SOON), events: STAGES.map((stage) => `rotation.${stage}`) };
  const read = await readRecords(api, filter, signal).catch(() => ({ records: [] }));
  const last = new Map();
  for (const record of read.records) {
    if (record.path !== undefined && !last.has(record.path)) last.set(record.path, record);
  }
  return last;
}
