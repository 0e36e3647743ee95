// Logs in, and shows the section that the address names.

import { Api, Problem } from "./api.js";
import { showAccess } from "./access.js";
import { showApprovals, watchApprovals } from "./approvals.js";
import { showAudit } from "./audit.js";
import { Catalog } from "./catalog.js";
import { announce, brief, data, el, fill, heading } from "./dom.js";
import { showDue } from "./due.js";
import { recordQuery } from "./records.js";
import { showSecret, showSecrets } from "./secrets.js";
import { listen } from "./stream.js";

// After how long without use the token is forgotten, in milliseconds.
const IDLE = 30 * 60_000;

const of = (id) => document.getElementById(id);

let session;

class Session {
  ended = new AbortController();
  #view = new AbortController();
  #listeners = new Set();
  #last;

  constructor(api, who) {
    this.api = api;
    this.who = who;
    this.catalog = new Catalog(api);
  }

  // Follows the approvals; returns once it is known whether there are any.
  start() {
    const { signal } = this.ended;
    return new Promise((resolve) => {
      const watch = watchApprovals(this.api, signal, (update) => {
        this.#last = update;
        resolve();
        showWaiting(update);
        if (update !== undefined) for (const listener of this.#listeners) listener(update);
      });
      this.approvals = { poke: watch.poke, onUpdate: (listener, view) => this.#onUpdate(listener, view) };
      watch.done.then(resolve);
    }).then(() => {
      if (this.hasApprovals) listen(this.api, recordQuery("/v1/events", { events: EVENTS }), signal, () => this.approvals.poke());
    });
  }

  get hasApprovals() {
    return this.#last !== undefined;
  }

  #onUpdate(listener, view) {
    this.#listeners.add(listener);
    view.addEventListener("abort", () => this.#listeners.delete(listener), { once: true });
    if (this.#last !== undefined) listener(this.#last);
  }

  // Shows the section that the address names.
  show() {
    this.#view.abort();
    this.#view = new AbortController();
    const [route, search = ""] = location.hash.replace(/^#\/?/, "").split("?");
    const [name, ...rest] = route.split("/");
    const path = decode(rest.join("/"));
    const context = {
      api: this.api, catalog: this.catalog, approvals: this.approvals, path, parameters: new URLSearchParams(search),
      signal: this.#view.signal, go,
    };
    const main = of("main");
    const first = this.hasApprovals ? "approvals" : "secrets";
    const section = Object.hasOwn(SECTIONS, name) ? name : name === "" ? first : undefined;
    markCurrent(section);
    if (section === undefined) fill(main, heading("Nothing here"), el("p", {}, "There is no such section. Choose one of the list."));
    else SECTIONS[section](main, context);
    const title = of("title");
    document.title = `${title?.textContent ?? "Strongroom"} · Strongroom`;
    window.scrollTo(0, 0);
    title?.focus({ preventScroll: true });
  }

  end() {
    this.ended.abort();
    this.#view.abort();
    this.api.forget();
  }
}

const EVENTS = ["requested", "approved", "denied", "withdrawn", "used", "expired"].map((step) => `approval.${step}`);

const SECTIONS = { approvals: showApprovals, secrets: showSecrets, secret: showSecret, due: showDue, access: showAccess, audit: showAudit };

function decode(path) {
  try {
    return decodeURI(path);
  } catch {
    return path;
  }
}

function go(hash) {
  if (location.hash === hash) session?.show();
  else location.hash = hash;
}

function markCurrent(section) {
  const current = section === "secret" ? "secrets" : section;
  for (const link of document.querySelectorAll(".side a")) {
    if (link.hash === `#/${current}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

// How many requests wait, beside the name of the section.
function showWaiting(update) {
  of("nav-approvals").hidden = update === undefined;
  const count = update?.approvals?.length ?? 0;
  of("waiting").hidden = count === 0;
  fill(of("waiting"), String(count), el("span", { class: "only-heard" }, " waiting"));
}

async function logIn(token) {
  const api = new Api(token, (problem) => logOut(`The server does not accept the token any more: ${problem.detail ?? problem.title}.`));
  const started = new Session(api, await api.get("/v1/self"));
  session = started;
  await started.start();
  if (session !== started) return;
  fill(of("principal"), brief(started.who.principal));
  fill(of("tenant"), data(started.who.tenant));
  of("login").hidden = true;
  of("shell").hidden = false;
  of("skip").hidden = false;
  started.show();
  rest();
}

// Forgets the token and everything that was shown.
function logOut(why) {
  session?.end();
  session = undefined;
  of("confirm").close();
  of("shell").hidden = true;
  of("skip").hidden = true;
  for (const id of ["main", "principal", "tenant", "waiting", "live"]) fill(of(id));
  of("login").hidden = false;
  document.title = "Strongroom";
  showLoginProblem(why);
  of("token").focus();
}

function showLoginProblem(text) {
  of("login-error").hidden = text === undefined;
  fill(of("login-error"), text);
}

let idle;

// Forgets the token after a time without use.
function rest() {
  clearTimeout(idle);
  if (session !== undefined) idle = setTimeout(() => logOut("The page was not used for 30 minutes."), IDLE);
}

of("login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const token = of("token").value.trim();
  of("token").value = "";
  of("login-button").disabled = true;
  showLoginProblem(undefined);
  try {
    await logIn(token);
  } catch (problem) {
    const isRefused = problem instanceof Problem && problem.status !== 0;
    logOut(isRefused && problem.status === 401 ? "The server does not accept this token." : `${problem.detail ?? problem.message}. ${problem.advice ?? ""}`);
  }
  of("login-button").disabled = false;
});

of("logout").addEventListener("click", () => logOut("You are logged out. This tab has forgotten the token."));
of("skip").addEventListener("click", (event) => {
  event.preventDefault();
  of("main").focus();
});
for (const event of ["keydown", "pointerdown"]) window.addEventListener(event, rest, { passive: true });
window.addEventListener("hashchange", () => session?.show());
// A page that the browser keeps for the way back keeps no token.
window.addEventListener("pagehide", () => session !== undefined && logOut(undefined));
of("skip").hidden = true;
of("token").focus();
announce("");
