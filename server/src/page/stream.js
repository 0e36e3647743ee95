// Server-sent events, read with `fetch`.

// Cuts a stream of bytes into events with `id`, `event` and `data`.
export class EventParser {
  #decoder = new TextDecoder();
  #rest = "";

  push(bytes) {
    this.#rest += this.#decoder.decode(bytes, { stream: true });
    const parts = this.#rest.split(/\r?\n\r?\n/);
    this.#rest = parts.pop();
    return parts.map(parse).filter((event) => event !== undefined);
  }
}

function parse(text) {
  const event = { event: "message", data: "" };
  let isEmpty = true;
  for (const line of text.split(/\r?\n/)) {
    const colon = line.indexOf(":");
    if (colon < 1) continue;
    const [field, value] = [line.slice(0, colon), line.slice(colon + 1).replace(/^ /, "")];
    if (field === "data") event.data += event.data === "" ? value : `\n${value}`;
    else if (field === "id" || field === "event") event[field] = value;
    else continue;
    isEmpty = false;
  }
  return isEmpty ? undefined : event;
}

const pause = (milliseconds, signal) => new Promise((resolve) => {
  const timer = setTimeout(resolve, milliseconds);
  signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
});

// Calls `onEvent` for each event until `signal` ends it, and goes on after the last one when the connection was lost.
// Returns whether the server has such a stream, and the caller the right to it.
export async function listen(api, path, signal, onEvent) {
  let last;
  let wait = 1_000;
  while (!signal.aborted) {
    try {
      const headers = last === undefined ? {} : { "Last-Event-ID": last };
      const response = await api.stream(path, { signal, headers });
      const parser = new EventParser();
      const reader = response.body.getReader();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        wait = 1_000;
        for (const event of parser.push(value)) {
          if (event.id !== undefined) last = event.id;
          onEvent(event);
        }
      }
    } catch (problem) {
      if (problem.status >= 400 && problem.status < 500 && problem.status !== 429) return false;
    }
    await pause(wait, signal);
    wait = Math.min(wait * 2, 60_000);
  }
  return true;
}
