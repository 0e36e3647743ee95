// Secrets by prefix, tag, kind and tier, with versions and expiry.

import { badge, brief, data, el, fill, heading, list, loading, muted, problemBox, showIn, table, tier, time } from "./dom.js";
import { query } from "./api.js";
import { count, exactly } from "./text.js";
import { recordsTable } from "./records.js";

// The most paths of a listing that are read, and how many are shown before "Show more".
const MAX_PATHS = 2_000;
const STEP = 50;

const KINDS = ["api_key", "oauth_token", "db_credential", "ssh_key", "payment_credential", "custom"];
const TIERS = ["standard", "sensitive", "critical"];

export const link = (path) => el("a", { href: `#/secret/${encodeURI(path)}`, class: "path" }, data(path));

const folder = (prefix) => query("#/secrets", { prefix });

export function showSecrets(main, { catalog, parameters, signal, go }) {
  const filter = {
    prefix: parameters.get("prefix") ?? "",
    tag: parameters.get("tag") ?? "",
    kind: parameters.get("kind") ?? "",
    tier: parameters.get("tier") ?? "",
  };
  const found = el("div", { class: "results" });
  fill(main, heading("Secrets", "Paths and metadata. Values are never shown here."), filters(filter, go), crumbs(filter.prefix), found);
  return showIn(found, "secrets", find(catalog, filter, signal), signal);
}

function filters(filter, go) {
  const choose = (id, label, names, any) => el("div", { class: "field" },
    el("label", { for: id }, label),
    el("select", { id },
      el("option", { value: "" }, any),
      names.map((name) => el("option", { value: name, selected: filter[id] === name }, name))));
  const type = (id, label, hint) => el("div", { class: "field" },
    el("label", { for: id }, label),
    el("input", { id, type: "text", value: filter[id], placeholder: hint, autocapitalize: "off", spellcheck: "false" }));
  const form = el("form", { class: "filters", role: "search", "aria-label": "Filter secrets", submit: (event) => {
    event.preventDefault();
    const of = (id) => form.querySelector(`#${id}`).value.trim();
    go(query("#/secrets", { prefix: of("prefix").replace(/^\/+|\/+$/g, ""), tag: of("tag"), kind: of("kind"), tier: of("tier") }));
  } },
  type("prefix", "Prefix", "production/openai"),
  type("tag", "Tag", "team=payments"),
  choose("kind", "Kind", KINDS, "any kind"),
  choose("tier", "Tier", TIERS, "any tier"),
  el("div", { class: "buttons" },
    el("button", { class: "primary", type: "submit" }, "Filter"),
    el("a", { class: "button quiet", href: "#/secrets" }, "Clear")));
  return form;
}

// The way from the root to the prefix.
function crumbs(prefix) {
  if (prefix === "") return null;
  const segments = prefix.split("/");
  const items = segments.map((segment, index) => {
    const isLast = index === segments.length - 1;
    const to = folder(segments.slice(0, index + 1).join("/"));
    return el("li", {}, el("a", { href: to, "aria-current": isLast && "location" }, data(segment)));
  });
  return el("nav", { class: "crumbs", "aria-label": "Prefix" },
    el("ol", {}, el("li", {}, el("a", { href: "#/secrets" }, "All")), items));
}

async function find(catalog, filter, signal) {
  const asked = { prefix: filter.prefix, kind: filter.kind, tier: filter.tier };
  if (filter.tag !== "") {
    const [name, ...value] = filter.tag.split("=");
    asked[`tag.${name}`] = value.join("=");
  }
  const { paths, more } = await catalog.list(asked, MAX_PATHS, signal);
  const isFiltered = filter.tag !== "" || filter.kind !== "" || filter.tier !== "";
  const { folders, secrets } = isFiltered ? { folders: [], secrets: paths } : level(paths, filter.prefix);
  return [
    more && el("p", { class: "notice" }, `Only the first ${MAX_PATHS} paths are shown. Choose a longer prefix.`),
    folders.length > 0 && folderList(folders, more),
    (secrets.length > 0 || folders.length === 0) && secretList(catalog, secrets, signal),
  ];
}

// What is directly below a prefix: secrets, and folders with how many secrets they hold.
function level(paths, prefix) {
  const start = prefix === "" ? "" : `${prefix}/`;
  const folders = new Map();
  const secrets = [];
  for (const path of paths) {
    const rest = path.startsWith(start) ? path.slice(start.length) : "";
    const slash = rest.indexOf("/");
    if (slash < 0) secrets.push(path);
    else {
      const name = start + rest.slice(0, slash);
      folders.set(name, (folders.get(name) ?? 0) + 1);
    }
  }
  return { folders: [...folders], secrets };
}

function folderList(folders, more) {
  return el("section", { "aria-labelledby": "folders" },
    el("h2", { id: "folders" }, "Folders"),
    el("ul", { class: "folders" }, folders.map(([name, number]) => el("li", {},
      el("a", { href: folder(name) },
        el("span", { class: "path" }, data(name.split("/").at(-1)), "/"),
        el("span", { class: "muted" }, more ? `${number}+ secrets` : count(number, "secret")))))));
}

// A table whose rows are described as they are shown.
function secretList(catalog, paths, signal) {
  const place = el("section", { "aria-labelledby": "paths" });
  const title = el("h2", { id: "paths" }, "Secrets");
  let shown = 0;
  const more = () => {
    const first = shown;
    shown = Math.min(shown + STEP, paths.length);
    const cells = new Map(paths.slice(0, shown).map((path) => [path, COLUMNS.map(() => el("span", {}, muted("…")))]));
    const columns = [
      { label: "Path", head: true, cell: link },
      ...COLUMNS.map(({ label }, index) => ({ label, cell: (path) => cells.get(path)[index] })),
    ];
    const rows = paths.slice(0, shown);
    const left = paths.length - shown;
    fill(place, title,
      table({ caption: count(paths.length, "secret"), columns, rows, empty: "No secret matches, or none that you may list." }),
      left > 0 && el("button", { type: "button", class: "quiet", click: more }, `Show more (${left} left)`));
    if (first > 0) place.querySelectorAll("tbody th a")[first]?.focus();
    catalog.describeAll(rows, signal, (path, { described, problem }) => {
      COLUMNS.forEach(({ cell }, index) => {
        const place = cells.get(path)[index];
        if (described !== undefined) fill(place, cell(described));
        else fill(place, index === 0 ? badge(problem.title) : muted("–"));
      });
    });
  };
  more();
  return place;
}

const COLUMNS = [
  { label: "Tier", cell: ({ metadata }) => tier(metadata.tier) },
  { label: "Kind", cell: ({ metadata }) => data(metadata.kind) },
  { label: "Version", cell: ({ version }) => data(version, "mono") },
  { label: "Expires", cell: ({ metadata }) => expiry(metadata) },
  { label: "Changed", cell: ({ metadata }) => (metadata.updated_at === undefined ? muted("unknown") : time(metadata.updated_at)) },
];

export function expiry(metadata) {
  if (metadata.expires_at === undefined) return muted("never");
  const isOver = Date.parse(metadata.expires_at) <= Date.now();
  return [isOver && [badge("expired", "bad"), " "], time(metadata.expires_at)];
}

// One secret: metadata, versions, and what the audit says of it.
export function showSecret(main, { api, catalog, path, signal }) {
  const [about, versions, audit] = [el("section", { "aria-label": "Metadata" }), el("section", { "aria-labelledby": "versions" }), el("section", { "aria-labelledby": "history" })];
  const parent = path.split("/").slice(0, -1).join("/");
  fill(main, crumbs(parent), heading(data(path)), about,
    versions, audit);
  catalog.forget(path);
  return Promise.all([
    showIn(about, "the metadata", catalog.describe(path, signal).then(facts), signal),
    section(versions, "versions", "Versions", catalog.versions(path, signal).then(versionTable), signal),
    section(audit, "history", "Last day in the audit", recordsTable(api, { path }, signal), signal),
  ]);
}

async function section(place, id, title, promise, signal) {
  const content = el("div", {}, loading(title.toLowerCase()));
  fill(place, el("h2", { id }, title), content);
  try {
    const shown = await promise;
    if (!signal.aborted) fill(content, shown);
  } catch (problem) {
    if (!signal.aborted) fill(content, problem.status === 403 ? el("p", { class: "empty" }, "This token may not see it.") : problemBox(problem));
  }
}

function facts({ version, metadata, details = {} }) {
  const tags = Object.entries(metadata.tags ?? {});
  const interval = metadata.rotation_interval_seconds;
  return list([
    ["Tier", tier(metadata.tier)],
    ["Kind", metadata.kind],
    ["Active version", data(version, "mono")],
    ["Description", metadata.description],
    ["Tags", tags.length > 0 && tags.map(([name, value]) => [badge(`${name}=${value}`), " "]).flat()],
    ["Expires", [expiry(metadata)]],
    ["Rotation", interval !== undefined && `every ${exactly(interval)}`],
    ["Created", metadata.created_at && [time(metadata.created_at), by(metadata.created_by)]],
    ["Changed", metadata.updated_at && [time(metadata.updated_at), by(metadata.updated_by)]],
    ...Object.entries(details),
  ]);
}

const by = (who) => who !== undefined && [" by ", brief(who)];

function versionTable(versions) {
  return table({
    caption: count(versions.length, "version"),
    columns: [
      { label: "Version", head: true, cell: ({ version }) => data(version, "mono") },
      { label: "State", cell: ({ active, stages = [] }) => [active ? badge("active", "good") : muted("earlier"), stages.map((stage) => [" ", badge(stage)])] },
      { label: "Created", cell: ({ created_at: at }) => (at === undefined ? muted("unknown") : time(at)) },
    ],
    rows: versions,
    empty: "The store keeps no versions.",
  });
}
