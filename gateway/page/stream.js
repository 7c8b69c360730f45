// The stream of events from the gateway. The browser's own EventSource can't send the token, so this is what it does:
// parse the stream, notice that it has ended or gone quiet, and come back, later each time.

/** No word for this long, and the connection counts as lost. The gateway says something every second. */
const QUIET_LIMIT_MS = 10_000;
const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 15_000;
/** No event is nearly as large; a server that sends no end of a line mustn't fill the memory. */
const LONGEST_EVENT = 32 * 1024 * 1024;

/** Makes events of pieces of text, wherever those are cut. */
export class EventParser {
  #pieces = [];
  #waiting = 0;
  #name = "";
  #data = [];

  /** The events that are complete with this piece, as `{ name, data }`. */
  push(text) {
    this.#pieces.push(text);
    this.#waiting += text.length;
    if (this.#waiting > LONGEST_EVENT) throw new Error("the gateway sent an event without an end");
    if (!/[\r\n]/.test(text)) return [];
    let lines = this.#pieces.join("");
    // A carriage return at the very end may be half of a line's end.
    const half = lines.endsWith("\r") ? "\r" : "";
    if (half) lines = lines.slice(0, -1);
    lines = lines.split(/\r\n|\n|\r/);
    const rest = lines.pop() + half;
    this.#pieces = [rest];
    this.#waiting = rest.length;
    return lines.flatMap((line) => this.#line(line));
  }

  #line(line) {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.#name = value;
    if (field === "data") this.#data.push(value);
    return [];
  }

  #dispatch() {
    const event = { name: this.#name || "message", data: this.#data.join("\n") };
    const has = this.#data.length > 0;
    this.#name = "";
    this.#data = [];
    return has ? [event] : [];
  }
}

/** How long to wait after this many failures in a row; not all pages come back in the same moment. */
export function delayAfter(failures, random = Math.random()) {
  const longest = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** (failures - 1));
  return longest * (0.75 + random / 4);
}

/**
 * Keeps a stream open until told to stop, or until the token is refused. It calls
 * `opened()`, `event(name, data)`, `waiting(reason, delayMs)`, and `refused()`.
 */
export class Connection {
  #url;
  #token;
  #handlers;
  #stopped = false;
  #abort = null;
  #wake = null;

  constructor(url, token, handlers) {
    this.#url = url;
    this.#token = token;
    this.#handlers = handlers;
    void this.#keep();
  }

  stop() {
    this.#stopped = true;
    this.#abort?.abort();
    this.#wake?.();
  }

  /** Ends the present wait, if there is one. */
  retryNow() {
    this.#wake?.();
  }

  async #keep() {
    let failures = 0;
    while (!this.#stopped) {
      const { refused, opened, reason } = await this.#attempt();
      if (this.#stopped) return;
      if (refused) return this.#handlers.refused();
      failures = opened ? 1 : failures + 1;
      const delay = delayAfter(failures);
      this.#handlers.waiting(reason, delay);
      await this.#pause(delay);
    }
  }

  /** One connection from its beginning to its end. */
  async #attempt() {
    const abort = (this.#abort = new AbortController());
    let quiet;
    const alive = () => {
      clearTimeout(quiet);
      quiet = setTimeout(() => abort.abort(), QUIET_LIMIT_MS);
    };
    let opened = false;
    try {
      alive();
      const answer = await fetch(this.#url, {
        headers: { Authorization: `Bearer ${this.#token}`, Accept: "text/event-stream" },
        cache: "no-store",
        signal: abort.signal,
      });
      if (answer.status === 401) return { refused: true };
      if (!answer.ok) return { reason: `the gateway answered ${answer.status}` };
      if (!answer.headers.get("content-type")?.startsWith("text/event-stream")) {
        return { reason: "what answers is not a gateway" };
      }
      opened = true;
      this.#handlers.opened();
      await this.#read(answer.body, alive);
      return { opened, reason: "the gateway ended the connection" };
    } catch (error) {
      if (abort.signal.aborted) return { opened, reason: "the gateway says nothing" };
      // A token with characters that no header can have is not this gateway's.
      if (!opened && /header/i.test(error.message)) return { refused: true };
      return { opened, reason: opened ? "the connection broke" : "the gateway can't be reached" };
    } finally {
      clearTimeout(quiet);
      abort.abort();
    }
  }

  async #read(body, alive) {
    const reader = body.getReader();
    const decoder = new TextDecoder();
    const parser = new EventParser();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      alive();
      for (const { name, data } of parser.push(decoder.decode(value, { stream: true }))) this.#deliver(name, data);
    }
  }

  // One event that can't be read, or shown, must not cost the ones after it.
  #deliver(name, data) {
    try {
      if (!this.#stopped) this.#handlers.event(name, JSON.parse(data));
    } catch (error) {
      console.warn(`An event "${name}" was left out:`, error);
    }
  }

  #pause(delay) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, delay);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    }).finally(() => (this.#wake = null));
  }
}
