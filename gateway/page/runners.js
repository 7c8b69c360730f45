// The runners, and the workers of those that are opened.

import { arrange, byId, clone, isEnabled, setAttribute, setEnabled, setStatus, setText, statusFor } from "./dom.js";
import { bytes, count, isNumber, milliseconds, percent, plural } from "./format.js";
import { LiveTable } from "./table.js";

const PAGE_SIZE = 50;
/** More boxes than this don't fit beside the number of workers. */
const BOXES = 16;
/** An event loop that is behind by this much keeps its users waiting. */
const LAG_TO_NOTICE_MS = 1_000;

const phases = {
  starting: { tone: "info", label: "Starting" },
  ready: { tone: "ok", label: "Ready" },
  draining: { tone: "warn", label: "Draining" },
  stopped: { tone: "idle", label: "Stopped" },
};
const workerStates = {
  starting: { tone: "info", label: "Starting" },
  ready: { tone: "ok", label: "Ready" },
  leaving: { tone: "warn", label: "Leaving" },
};

const full = { tone: "warn", label: "Full" };

const statusOf = (runner) => {
  if (runner.reachable === false) {
    return { tone: "bad", label: "Unreachable" };
  }
  return runner.phase === "ready" && runner.room === 0 ? full : statusFor(phases, runner.phase);
};

/** The share of looks into the cache that found something, anywhere. */
export function hitShare(cache) {
  const hits = (cache?.worker_hits ?? 0) + (cache?.node_hits ?? 0) + (cache?.cluster_hits ?? 0);
  const looks = hits + (cache?.misses ?? 0);
  return looks > 0 ? hits / looks : null;
}

const numberOr = (value, otherwise) => (isNumber(value) ? value : otherwise);
const workersOf = (runner) => (Array.isArray(runner.workers) ? runner.workers : []);

export const countReady = (runners) => runners.filter((one) => one.phase === "ready" && one.reachable !== false).length;

/** `onDrain(runner)` and `onSessions(runner)` are what the buttons do. */
export class Runners {
  #table;
  #revision = null;

  constructor({ onDrain, onSessions }) {
    this.#table = new LiveTable(byId("runners"), {
      noun: "runner",
      key: (runner) => String(runner.id),
      makeRow: () => makeRow({ onDrain, onSessions, revision: () => this.#revision }),
      columns: {
        id: (runner) => String(runner.id),
        address: (runner) => runner.address,
        phase: (runner) => statusOf(runner).label,
        revision: (runner) => runner.revision,
        sessions: (runner) => runner.sessions,
        running: (runner) => runner.running,
        queue: (runner) => runner.queue_wait_ms,
        cpu: (runner) => runner.cpu,
        memory: (runner) => runner.memory_bytes,
        workers: (runner) => workersOf(runner).length,
        cache: (runner) => hitShare(runner.cache),
      },
      sort: { column: "id", descending: false },
      pageSize: PAGE_SIZE,
      matches: (runner, words) => {
        const text = [runner.id, runner.address, statusOf(runner).label, runner.revision].join(" ").toLowerCase();
        return words.every((word) => text.includes(word));
      },
      none: "No runner has joined this cluster. Start one with: streamfleet runner APP",
      note: describeAll,
    });
  }

  set(runners, revision) {
    this.#revision = revision;
    this.#table.set(runners);
  }
}

function describeAll(runners) {
  const numbers = new Map();
  for (const { label } of runners.map(statusOf)) numbers.set(label, (numbers.get(label) ?? 0) + 1);
  return [...numbers]
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([label, number]) => `${count(number)} ${label.toLowerCase()}`)
    .join(", ");
}

function makeRow({ onDrain, onSessions, revision }) {
  const row = clone("runner-row");
  const detail = clone("runner-detail");
  const workers = new Map();
  let runner;

  const open = () => row.fields.opener.getAttribute("aria-expanded") === "true";
  row.fields.opener.addEventListener("click", () => {
    setAttribute(row.fields.opener, "aria-expanded", !open());
    detail.element.hidden = !open();
    if (open()) updateDetail(detail.fields, workers, runner);
  });
  row.fields.sessions.addEventListener("click", () => onSessions(runner));
  row.fields.drain.addEventListener("click", () => isEnabled(row.fields.drain) && onDrain(runner));

  return {
    elements: [row.element, detail.element],
    gone(isGone) {
      row.element.classList.toggle("gone", isGone);
      if (!isGone) return;
      setStatus(row.fields.phase, { tone: "idle", label: "Gone" });
      setEnabled(row.fields.drain, false);
    },
    update(latest) {
      runner = latest;
      updateRow(row.fields, runner, revision());
      if (open()) updateDetail(detail.fields, workers, runner);
    },
  };
}

function updateRow(fields, runner, revision) {
  setText(fields.id, runner.id);
  setAttribute(fields.opener, "title", runner.id);
  setText(fields.address, runner.address ?? "–");
  setStatus(fields.phase, statusOf(runner));
  setText(fields.revision, runner.revision ?? "–");
  fields.other.hidden = !revision || !runner.revision || runner.revision === revision;
  setText(fields.sessions, count(runner.sessions));
  setAttribute(fields.sessions, "aria-label", `Show ${plural("session", runner.sessions)} of ${runner.id}`);
  setText(fields.running, count(runner.running));
  setText(fields.queue, milliseconds(runner.queue_wait_ms));
  setText(fields.cpu, percent(runner.cpu));
  fields.meter.style.setProperty("--share", Math.min(1, Math.max(0, numberOr(runner.cpu, 0))));
  setText(fields.memory, bytes(runner.memory_bytes));
  updateWorkers(fields, workersOf(runner));
  setText(fields.cache, percent(hitShare(runner.cache)));
  setEnabled(fields.drain, runner.phase === "ready" || runner.phase === "starting");
  setAttribute(fields.drain, "aria-label", `Drain ${runner.id}`);
}

/** How many there are, and a box for each: its colour is the state, its filling the runs in progress. */
function updateWorkers(fields, workers) {
  const ready = workers.filter((worker) => worker.state === "ready").length;
  setText(fields.workers, ready === workers.length ? count(ready) : `${count(ready)} of ${count(workers.length)}`);
  const boxes = workers.slice(0, BOXES);
  while (fields.strip.childElementCount > boxes.length) fields.strip.lastElementChild.remove();
  while (fields.strip.childElementCount < boxes.length) fields.strip.append(document.createElement("i"));
  boxes.forEach((worker, i) => {
    const box = fields.strip.children[i];
    const { tone } = workerStatus(worker);
    if (box.dataset.tone !== tone) box.dataset.tone = tone;
    box.style.setProperty("--share", Math.min(1, numberOr(worker.running, 0) / 3));
  });
}

function workerStatus(worker) {
  if (worker.state === "ready" && worker.lag_ms >= LAG_TO_NOTICE_MS) return { tone: "bad", label: "Lagging" };
  return statusFor(workerStates, worker.state);
}

function updateDetail(fields, rows, runner) {
  setText(fields.address, runner.address ?? "–");
  setText(fields.revision, runner.revision ?? "–");
  for (const name of ["worker_hits", "node_hits", "cluster_hits", "misses", "computations"]) {
    setText(fields[name], count(runner.cache?.[name]));
  }
  setAttribute(fields.table, "aria-label", `Workers of ${runner.id}`);
  const workers = workersOf(runner);
  arrange(fields.body, workers.map((worker) => updateWorker(rows, worker)));
}

function updateWorker(rows, worker) {
  const key = String(worker.index);
  if (!rows.has(key)) rows.set(key, clone("worker-row"));
  const { element, fields } = rows.get(key);
  setText(fields.index, worker.index);
  setStatus(fields.state, workerStatus(worker));
  setText(fields.sessions, count(worker.sessions));
  setText(fields.running, count(worker.running));
  setText(fields.memory, bytes(worker.memory_bytes));
  setText(fields.lag, milliseconds(worker.lag_ms));
  setText(fields.restarts, count(worker.restarts));
  return element;
}
