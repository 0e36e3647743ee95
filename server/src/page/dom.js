// Builds the elements of the page. Every text becomes a text node.

import { escaped, local, parseTime, relative, visible } from "./text.js";

// An element. Texts among the children may come from anywhere; attributes with a function are listeners.
export function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") element.addEventListener(key, value);
    else if (key.startsWith("on") || key === "style" || key === "srcdoc") throw new Error(`no attribute: ${key}`);
    else element.setAttribute(key, value === true ? "" : escaped(String(value)));
  }
  fill(element, ...children);
  return element;
}

// Replaces the children of an element.
export function fill(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : visible(String(child)))));
}

// A text of the API. Its direction of writing does not reach what stands beside it.
export const data = (text, kind = "data") => el("bdi", { class: kind }, String(text));

// The same with long ids cut in their middle; the whole text is in the title.
export function brief(text) {
  const short = text.replace(/[0-9a-f]{24,}/g, (id) => `${id.slice(0, 8)}…${id.slice(-4)}`);
  return short === text ? data(text) : el("bdi", { class: "brief", title: text }, short);
}

export const muted = (text) => el("span", { class: "muted" }, text);

// A time, with what it means from now.
export function time(value, { from = true } = {}) {
  const at = parseTime(value);
  if (Number.isNaN(at)) return data(value);
  const iso = new Date(at).toISOString();
  return el("time", { datetime: iso, title: iso }, local(at), from && el("span", { class: "relative" }, ` ${relative(at)}`));
}

export const badge = (text, kind = "") => el("span", { class: `badge ${kind}` }, text);

export function tier(name) {
  const kind = { critical: "bad", sensitive: "warn" }[name] ?? "plain";
  return badge(name, kind);
}

// The label of a column with a button.
export const ACTION = "Action";

// A table with a caption. On a phone, the style sheet shows each row as a card; the roles keep its meaning then.
// A column has a `label`, a `cell` of a row, and `head: true` if it names the row.
export function table({ caption, columns, rows, empty }) {
  if (rows.length === 0) return el("p", { class: "empty" }, empty);
  const head = columns.map(({ label }) => el("th", { scope: "col", role: "columnheader" },
    label === ACTION ? el("span", { class: "only-heard" }, label) : label));
  const body = el("tbody", { role: "rowgroup" }, rows.map((row) => tableRow(columns, row)));
  return el("table", { role: "table" },
    el("caption", {}, caption),
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, head)),
    body);
}

export function tableRow(columns, row) {
  return el("tr", { role: "row" }, columns.map(({ label, cell, head }) => {
    const content = el("div", { class: "cell" }, cell(row));
    return head
      ? el("th", { scope: "row", role: "rowheader" }, content)
      : el("td", { role: "cell" }, label !== ACTION && el("span", { class: "label", "aria-hidden": "true" }, label), content);
  }));
}

// Names with what they stand for; those that are not set are left out.
export function list(entries) {
  const set = entries.filter(([, value]) => value !== undefined && value !== null && value !== "" && value !== false);
  return el("dl", { class: "facts" }, set.map(([name, value]) =>
    el("div", {}, el("dt", {}, name), el("dd", {}, value instanceof Node || Array.isArray(value) ? value : data(value)))));
}

// Why something is not shown, and what to do.
export function problemBox(problem) {
  return el("div", { class: "notice bad", role: "alert" },
    el("strong", {}, problem.title), problem.detail && [": ", data(problem.detail)],
    problem.advice && el("p", {}, "To do: ", data(problem.advice)));
}

export const loading = (what) => el("p", { class: "loading", "aria-busy": "true" }, `Loading ${what}…`);

// Shows what a promise gives, or its problem.
export async function showIn(place, what, promise, signal) {
  fill(place, loading(what));
  try {
    const shown = await promise;
    if (!signal.aborted) fill(place, shown);
  } catch (problem) {
    if (!signal.aborted) fill(place, problemBox(problem));
  }
}

// The head of a section, which takes the focus.
export function heading(title, ...about) {
  return [el("h1", { tabindex: "-1", id: "title" }, title), about.length > 0 && el("p", { class: "lead" }, ...about)];
}

let cleared;

// Says something to people who see the page, and to those who hear it.
export function announce(text) {
  const live = document.getElementById("live");
  fill(live, text);
  clearTimeout(cleared);
  cleared = setTimeout(() => fill(live), 8_000);
}

// Asks before something that cannot be undone.
export function confirm(title, text, action) {
  const dialog = document.getElementById("confirm");
  const yes = document.getElementById("confirm-yes");
  fill(document.getElementById("confirm-title"), title);
  fill(document.getElementById("confirm-text"), text);
  fill(yes, action);
  return new Promise((resolve) => {
    const listeners = new AbortController();
    const once = { signal: listeners.signal };
    const end = (answer) => {
      listeners.abort();
      dialog.close();
      resolve(answer);
    };
    yes.addEventListener("click", () => end(true), once);
    document.getElementById("confirm-no").addEventListener("click", () => end(false), once);
    // Also if the dialog was cancelled, or the page has logged out.
    dialog.addEventListener("close", () => end(false), once);
    dialog.showModal();
    document.getElementById("confirm-no").focus();
  });
}
