// The sessions: which, where, doing what; a way to their traces, and one to stop what they run.

import { byId, clone, isEnabled, setAttribute, setEnabled, setStatus, setText, statusFor } from "./dom.js";
import { count, duration, milliseconds } from "./format.js";
import { LiveTable } from "./table.js";

const PAGE_SIZE = 25;
const KEYS_TO_NAME = 3;

const states = {
  connected: { tone: "ok", label: "Connected" },
  disconnected: { tone: "warn", label: "Disconnected" },
  hibernated: { tone: "idle", label: "Hibernated" },
};

function statusOf(session) {
  const state = statusFor(states, session.state);
  if (!session.running) return state;
  return session.state === "connected" ? { tone: "info", label: "Running" } : { ...state, label: `${state.label}, running` };
}

const unsavedOf = (session) => (Array.isArray(session.unsaved) ? session.unsaved : []);

/** `onStop(session)` is what its button does. */
export class Sessions {
  #table;
  #traces = null;
  #total = 0;

  constructor({ onStop }) {
    this.#table = new LiveTable(byId("sessions"), {
      noun: "session",
      key: (session) => String(session.id),
      makeRow: () => makeRow({ onStop, traces: () => this.#traces }),
      columns: {
        id: (session) => String(session.id),
        state: (session) => statusOf(session).label,
        runner: (session) => session.runner,
        worker: (session) => session.worker,
        page: (session) => session.page,
        age: (session) => session.age_seconds,
        runs: (session) => session.runs,
        last_run: (session) => session.last_run_ms,
        unsaved: (session) => unsavedOf(session).length || null,
      },
      // By age none overtakes another, and who is new comes last: rows stay where they are.
      sort: { column: "age", descending: true },
      pageSize: PAGE_SIZE,
      matches,
      none: "No sessions. They begin when a browser opens the app.",
      note: (sessions) => this.#describe(sessions),
    });
  }

  set(sessions, total, traces) {
    this.#total = Number.isFinite(total) ? total : sessions.length;
    this.#traces = traces;
    this.#table.set(sessions);
  }

  showRunner(id) {
    this.#table.filter(`runner:${id}`);
  }

  show(id) {
    this.#table.filter(id);
  }

  #describe(sessions) {
    return this.#total > sessions.length
      ? `${count(sessions.length)} of ${count(this.#total)} are listed here`
      : `${count(this.#total)} in all`;
  }
}

/** Whether a session has all `words` in what is shown of it; `runner:NAME` asks for exactly that runner. */
function matches(session, words, kind) {
  if (kind === "running" && !session.running) return false;
  if (kind === "unsaved" && unsavedOf(session).length === 0) return false;
  if (Object.hasOwn(states, kind) && session.state !== kind) return false;
  if (words.length === 0) return true;
  const runner = String(session.runner).toLowerCase();
  const text = [session.id, runner, session.page, statusOf(session).label, ...unsavedOf(session)].join(" ").toLowerCase();
  return words.every((word) => (word.startsWith("runner:") ? runner === word.slice(7) : text.includes(word)));
}

function makeRow({ onStop, traces }) {
  const { element, fields } = clone("session-row");
  let session;
  fields.stop.addEventListener("click", () => isEnabled(fields.stop) && onStop(session));
  return {
    elements: [element],
    gone(isGone) {
      element.classList.toggle("gone", isGone);
      if (!isGone) return;
      setStatus(fields.state, { tone: "idle", label: "Gone" });
      setEnabled(fields.stop, false);
    },
    update(latest) {
      session = latest;
      updateRow(fields, session, traces());
    },
  };
}

function updateRow(fields, session, traces) {
  setText(fields.id, session.id);
  setStatus(fields.state, statusOf(session));
  setText(fields.runner, session.runner ?? "–");
  setText(fields.worker, session.worker ?? "–");
  setText(fields.page, session.page ?? "–");
  setText(fields.age, duration(session.age_seconds));
  setText(fields.runs, count(session.runs));
  setText(fields.last_run, milliseconds(session.last_run_ms));
  updateUnsaved(fields.unsaved, unsavedOf(session));
  const address = traceAddress(traces, session.id);
  fields.traces.hidden = address === null;
  if (address !== null) {
    setAttribute(fields.traces, "href", address);
    setAttribute(fields.traces, "aria-label", `Traces of ${session.id}`);
  }
  setEnabled(fields.stop, Boolean(session.running));
  setAttribute(fields.stop, "aria-label", `Stop the run of ${session.id}`);
}

function updateUnsaved(field, keys) {
  const more = keys.length - KEYS_TO_NAME;
  setText(field, keys.slice(0, KEYS_TO_NAME).join(", ") + (more > 0 ? ` and ${count(more)} more` : ""));
  setAttribute(field, "title", keys.slice(0, 100).join(", "));
}

/** Where a session's traces are, if anywhere. Only addresses of web pages are made links of. */
export function traceAddress(template, session) {
  if (typeof template !== "string") return null;
  const address = template.replaceAll("{session}", () => encodeURIComponent(session));
  return /^https?:\/\//i.test(address) ? address : null;
}
