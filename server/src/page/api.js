// Requests to the server that served this page.

// What the server refuses, and why.
export class Problem extends Error {
  constructor({ status, title, detail, advice, type }) {
    super(title);
    Object.assign(this, { status, title, detail, advice, kind: (type ?? "").split(":").at(-1) });
  }

  // Whether the server has no such resource.
  get isAbsent() {
    return this.status === 404 && this.kind === "invalid_input";
  }
}

const UNREACHABLE = {
  status: 0,
  title: "the server cannot be reached",
  advice: "check the connection, and try again",
};

export class Api {
  // In the memory of this tab alone: browsers write `sessionStorage` to the disk, too.
  #token;
  #onEnd;

  // `onEnd` is called once the server does not accept the token any more.
  constructor(token, onEnd) {
    this.#token = token;
    this.#onEnd = onEnd;
  }

  forget() {
    this.#token = undefined;
  }

  async #send(method, path, { body, signal, headers } = {}) {
    if (this.#token === undefined) throw new Problem({ status: 401, title: "logged out" });
    const all = { ...headers, Authorization: `Bearer ${this.#token}` };
    if (body !== undefined) all["Content-Type"] = "application/json";
    let response;
    try {
      response = await fetch(path, {
        method,
        headers: all,
        body: body === undefined ? undefined : JSON.stringify(body),
        signal,
        mode: "same-origin",
        credentials: "omit",
        cache: "no-store",
        redirect: "error",
        referrerPolicy: "no-referrer",
      });
    } catch (error) {
      throw error.name === "AbortError" ? error : new Problem(UNREACHABLE);
    }
    if (response.ok) return response;
    const problem = new Problem(await problemOf(response));
    if (response.status === 401) this.#onEnd(problem);
    throw problem;
  }

  async #json(method, path, options) {
    const response = await this.#send(method, path, options);
    const text = await response.text();
    return text === "" ? undefined : JSON.parse(text);
  }

  get(path, options) {
    return this.#json("GET", path, options);
  }

  post(path, body, options) {
    return this.#json("POST", path, { ...options, body });
  }

  delete(path, options) {
    return this.#json("DELETE", path, options);
  }

  // An answer that goes on. It is read with `fetch`, as an `EventSource` can send no token.
  stream(path, options) {
    return this.#send("GET", path, options);
  }
}

async function problemOf(response) {
  const problem = await response.json().catch(() => ({}));
  return { title: `the server answered ${response.status}`, ...problem, status: response.status };
}

// The URL of a resource for a secret, or for anything else with an id. A browser would go up at `..`, to another resource.
export function resource(name, path) {
  const segments = path.split("/");
  if (segments.some((segment) => ["", ".", ".."].includes(segment))) {
    throw new Problem({ status: 400, title: "this is not a path", advice: "choose one of the list" });
  }
  return `/v1/${name}/${segments.map(encodeURIComponent).join("/")}`;
}

// A URL with those parameters that are set, and with more that may have the same name.
export function query(path, parameters, more = []) {
  const set = [...Object.entries(parameters), ...more].filter(([, value]) => value !== undefined && value !== "");
  const text = new URLSearchParams(set).toString();
  return text === "" ? path : `${path}?${text}`;
}

// Calls `work` for each item, a few at a time.
export async function eachOf(items, atATime, signal, work) {
  const queue = items.values();
  const worker = async () => {
    for (const item of queue) {
      if (signal.aborted) return;
      await work(item);
    }
  };
  await Promise.all(Array.from({ length: atATime }, worker));
}
