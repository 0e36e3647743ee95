// The requests that wait for people. A decision is always about exactly the request that is shown:
// - a card never changes what it asks, and stays where it is after the decision;
// - a new request is appended below the others;
// - for half a second after a card has appeared or any card has changed its height, clicks decide nothing.

import { resource } from "./api.js";
import { announce, badge, data, el, fill, heading, list, loading, problemBox, time } from "./dom.js";
import { exactly } from "./text.js";

// How often the list is read, in milliseconds.
const INTERVAL = 10_000;
// How long clicks wait after something has moved.
const ARMED_AFTER = 500;
// The longest reason of a denial, in bytes.
const MAX_REASON = 512;

// What may change while a request is open.
const CHANGING = new Set(["status", "approved_by"]);

// What the title and other lines of a card show.
const SHOWN = new Set([...CHANGING, "requester", "action", "path", "quorum", "usable_for_seconds"]);

// Reads the requests for as long as `signal` allows. `onChange` gets them; `undefined` if the server has no approvals, or a
// problem. `poke()` of the answer reads them at once.
export function watchApprovals(api, signal, onChange) {
  let poke = () => {};
  const wait = () => new Promise((resolve) => {
    const timer = setTimeout(resolve, INTERVAL);
    poke = () => { clearTimeout(timer); resolve(); };
    signal.addEventListener("abort", poke, { once: true });
  });
  const run = async () => {
    while (!signal.aborted) {
      try {
        const { approvals } = await api.get("/v1/approvals", { signal });
        onChange({ approvals });
      } catch (problem) {
        if (signal.aborted) return;
        if (problem.isAbsent) return onChange(undefined);
        onChange({ problem });
      }
      do await wait(); while (document.hidden && !signal.aborted);
    }
  };
  return { done: run(), poke: () => poke() };
}

export function showApprovals(main, { api, approvals, signal }) {
  const cards = new Map();
  const place = el("div", { class: "cards" });
  const state = el("div");
  const empty = el("p", { class: "empty", hidden: true }, "Nothing waits for you. New requests appear here.");
  const busy = loading("the requests");
  fill(main, heading("Approvals", "Each card is one request. Approve only what you expect, from whom you expect it."), state, busy, empty, place);
  const sizes = new ResizeObserver(() => {
    for (const card of cards.values()) card.disarm();
  });
  // A problem above the cards moves them, too.
  sizes.observe(state);
  signal.addEventListener("abort", () => sizes.disconnect(), { once: true });
  const update = ({ approvals: open, problem }) => {
    busy.remove();
    fill(state, problem !== undefined && problemBox(problem));
    if (open === undefined) return;
    const isFirst = cards.size === 0;
    const ids = new Set(open.map(({ id }) => id));
    const added = open.filter(({ id }) => !cards.has(id)).map((request) => {
      const card = new Card(api, request, approvals.poke, signal);
      cards.set(request.id, card);
      sizes.observe(card.element);
      return card.element;
    });
    place.append(...added);
    for (const request of open) cards.get(request.id).update(request);
    for (const [id, card] of cards) if (!ids.has(id)) card.close();
    empty.hidden = cards.size > 0;
    if (added.length > 0 && !isFirst) announce(`${added.length} new request${added.length === 1 ? "" : "s"} below the others`);
  };
  approvals.onUpdate(update, signal);
}

// One request.
class Card {
  #api;
  #request;
  #fixed;
  #poke;
  #signal;
  #approvers = el("dd");
  #state = el("div", { class: "state", tabindex: "-1" });
  #problem = el("div");
  #form;
  #buttons;
  #armed;
  #isBusy = false;
  #isOver = false;

  constructor(api, request, poke, signal) {
    this.#api = api;
    this.#request = request;
    this.#fixed = fixed(request);
    this.#poke = poke;
    this.#signal = signal;
    const { id, requester, action, path } = request;
    const title = `request-${id}`;
    this.#form = this.#decision();
    this.element = el("article", { class: "card", "aria-labelledby": title },
      el("h2", { id: title }, data(requester), " asks to ", el("strong", {}, data(action)), " ", data(path, "path")),
      this.#facts(),
      this.#problem,
      el("div", { class: "decide" }, this.#state, this.#form));
    this.disarm();
  }

  #facts() {
    const request = this.#request;
    const { id, version, purpose, reason, requested_at: asked, ends_at: end, ...rest } = request;
    const others = Object.entries(rest).filter(([name]) => !SHOWN.has(name));
    const facts = list([
      ["Version", version === undefined || version === null ? "the active one at each use" : text(version)],
      ["Purpose", purpose],
      ["Reason", reason],
      ["Use", usageText(request)],
      ["Asked", asked !== undefined && [time(asked)]],
      ["Open until", end !== undefined && [time(end)]],
      // What this page has no name for is shown, too.
      ...others.map(([name, value]) => [name.replaceAll("_", " "), text(value)]),
      ["Request", data(id, "mono")],
    ]);
    facts.append(el("div", {}, el("dt", {}, "Approved"), this.#approvers));
    this.#showApprovers(request);
    return facts;
  }

  #showApprovers({ quorum = 1, approved_by: by = [] }) {
    fill(this.#approvers, `${by.length} of ${quorum}`, by.length > 0 && [" by ", by.map((who, index) => [index > 0 && ", ", data(who)])]);
  }

  #decision() {
    const field = `reason-${this.#request.id}`;
    const reason = el("input", { id: field, type: "text", maxlength: MAX_REASON, placeholder: "needed to deny", autocomplete: "off" });
    const approve = el("button", { type: "button", class: "primary", click: () => this.#send("approve", undefined) },
      "Approve", el("span", { class: "only-heard" }, ` for ${this.#request.requester}: ${this.#request.action} ${this.#request.path}`));
    const deny = el("button", { type: "submit", class: "danger" },
      "Deny", el("span", { class: "only-heard" }, ` ${this.#request.requester}: ${this.#request.action} ${this.#request.path}`));
    this.#buttons = [approve, deny];
    return el("form", { class: "decision", submit: (event) => {
      event.preventDefault();
      const why = reason.value.trim();
      if (why === "") {
        announce("Say why you deny the request.");
        reason.focus();
        return;
      }
      this.#send("deny", { reason: why });
    } }, approve, el("div", { class: "field" }, el("label", { for: field }, "Why not"), reason), deny);
  }

  // Clicks decide nothing for a moment. The buttons keep the focus, so they are not disabled.
  disarm() {
    clearTimeout(this.#armed);
    for (const button of this.#buttons) button.setAttribute("aria-disabled", "true");
    if (!this.#isBusy && !this.#isOver) this.#armed = setTimeout(() => this.#arm(), ARMED_AFTER);
  }

  #arm() {
    this.#armed = undefined;
    for (const button of this.#buttons) button.removeAttribute("aria-disabled");
  }

  async #send(decision, body) {
    if (this.#isBusy || this.#isOver) return;
    if (this.#armed !== undefined) {
      announce("The list has just changed. Look again, and then decide.");
      return;
    }
    this.#isBusy = true;
    this.disarm();
    fill(this.#problem);
    try {
      const url = `${resource("approvals", this.#request.id)}/${decision}`;
      const answer = await this.#api.post(url, body, { signal: this.#signal });
      const waits = decision === "approve" && answer?.status === "open";
      this.#end(decision === "deny" ? ["denied by you", "bad"] : waits ? ["approved by you, others are needed", "warn"] : ["approved by you", "good"]);
      if (answer?.approved_by !== undefined) this.#showApprovers(answer);
    } catch (problem) {
      if (this.#signal.aborted) return;
      fill(this.#problem, problemBox(problem));
      this.#isBusy = false;
      this.disarm();
    }
    this.#poke();
  }

  #end([what, kind]) {
    const hadFocus = this.element.contains(document.activeElement);
    this.#isOver = true;
    this.disarm();
    // It keeps its room.
    this.#form.inert = true;
    fill(this.#state, badge(what, kind));
    this.element.classList.add("over");
    if (hadFocus) this.#state.focus({ preventScroll: true });
    announce(`The request is ${what}.`);
  }

  // Shows who has approved since. What is asked never changes; if it does, the card cannot be used any more.
  update(request) {
    if (fixed(request) !== this.#fixed) {
      if (!this.#isOver) this.#end(["no longer what is shown here: reload the page", "bad"]);
      return;
    }
    this.#showApprovers(request);
  }

  // The request is not open any more.
  close() {
    if (!this.#isOver) this.#end(["no longer open", "plain"]);
  }
}

const text = (value) => data(typeof value === "string" ? value : JSON.stringify(value));

const fixed = (request) => JSON.stringify(Object.entries(request).filter(([name]) => !CHANGING.has(name)).sort());

// How often it can be used once it is approved.
function usageText({ usable_for_seconds: seconds }) {
  return seconds === undefined ? "once" : `any number of times for ${exactly(seconds)} after it is approved`;
}
