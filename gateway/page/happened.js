// What happened: handoffs, failovers and the like, newest first, as they come in.

import { announce, arrange, byId, clone, setStatus, setText, statusFor } from "./dom.js";
import { clock, count, plural } from "./format.js";

const KEPT = 300;
/** Their numbers are spoken at most this often; a lost machine moves hundreds of sessions at once. */
const ANNOUNCE_EVERY_MS = 5_000;

const kinds = {
  handoff: { tone: "info", label: "Handoff" },
  failover: { tone: "bad", label: "Failover" },
  wakeup: { tone: "idle", label: "Wake-up" },
  drain: { tone: "warn", label: "Drain" },
  runner_joined: { tone: "ok", label: "Runner joined" },
  runner_left: { tone: "warn", label: "Runner left" },
  replay: { tone: "idle", label: "Replay" },
  page: { tone: "idle", label: "This page" },
};
const statusOf = ({ kind }) => statusFor(kinds, kind);

/** `onSession(id)` is what a session's button does. */
export class Happened {
  #entries = [];
  #known = new Set();
  #onSession;
  #list = byId("happened");
  #select = byId("happened-kind");
  #unspoken = new Map();
  #timer = null;
  #changed = false;

  constructor({ onSession }) {
    this.#onSession = onSession;
    this.#select.addEventListener("change", () => {
      this.#changed = true;
      this.render();
    });
  }

  /** Takes an event in, unless it is known: after a reconnect the gateway may tell some again. */
  add(event) {
    const name = [event.time, event.kind, event.session, event.runner, event.text].join("\n");
    if (this.#known.has(name)) return;
    this.#known.add(name);
    const at = this.#entries.findIndex((entry) => entry.event.time <= event.time);
    this.#entries.splice(at < 0 ? this.#entries.length : at, 0, { event, name, element: null });
    for (const dropped of this.#entries.splice(KEPT)) this.#known.delete(dropped.name);
    this.#changed = true;
    this.#speakSoon(event);
  }

  /** For the plots: when something happened that may be seen in them. */
  get marks() {
    return this.#entries.map(({ event }) => ({ time: event.time, tone: statusOf(event).tone }));
  }

  render() {
    if (!this.#changed) return;
    this.#changed = false;
    const wanted = this.#entries.filter(({ event }) => this.#select.value === "" || event.kind === this.#select.value);
    arrange(this.#list, wanted.map((entry) => this.#element(entry)), byId("happened-title"));
    byId("happened-empty").hidden = wanted.length > 0;
    setText(byId("happened-empty"), this.#entries.length > 0 ? "None of these." : "Nothing since this page was opened.");
  }

  #element(entry) {
    entry.element ??= this.#make(entry.event);
    return entry.element;
  }

  #make(event) {
    const { element, fields } = clone("happened-entry");
    const text = String(event.text ?? "");
    setText(fields.time, clock(event.time));
    setStatus(fields.kind, statusOf(event));
    setText(fields.text, text);
    if (event.session) {
      fields.session.hidden = false;
      setText(fields.session, event.session);
      fields.session.setAttribute("aria-label", `Show session ${event.session}`);
      fields.session.addEventListener("click", () => this.#onSession(event.session));
    }
    // Most texts name the runner already.
    if (event.runner && !text.includes(event.runner)) {
      fields.moved.hidden = false;
      setText(fields.runner, event.runner);
    }
    return element;
  }

  #speakSoon(event) {
    const { label } = statusOf(event);
    this.#unspoken.set(label, (this.#unspoken.get(label) ?? 0) + 1);
    this.#timer ??= setTimeout(() => {
      const parts = [...this.#unspoken].map(([what, times]) => (times === 1 ? what : `${what}, ${count(times)} times`));
      announce(parts.length > 3 ? `${plural("event", parts.length)}` : parts.join("; "));
      this.#unspoken.clear();
      this.#timer = null;
    }, ANNOUNCE_EVERY_MS);
  }
}
