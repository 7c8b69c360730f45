// The cluster page: asks for the token, keeps the stream of events open, and gives what comes to the parts of the page.

import { confirm, post } from "./actions.js";
import { announce, byId, fieldsOf, setStatus, setText } from "./dom.js";
import { bytesPerSecond, clock, count, isNumber, milliseconds, plural, rate } from "./format.js";
import { Happened } from "./happened.js";
import { History } from "./history.js";
import { Plot } from "./plot.js";
import { Runners, countReady } from "./runners.js";
import { Sessions } from "./sessions.js";
import { Connection } from "./stream.js";
import * as tokens from "./token.js";

const history = new History();
const facts = fieldsOf(byId("facts"));
const summary = fieldsOf(byId("summary"));
const runners = new Runners({ onDrain: askToDrain, onSessions: (runner) => sessions.showRunner(runner.id) });
const sessions = new Sessions({ onStop: askToStop });
const happened = new Happened({ onSession: (id) => sessions.show(id) });
const plots = [
  new Plot(byId("latency"), {
    format: milliseconds,
    series: ["p50", "p95", "p99"].map((name) => ({ name, value: (sample) => sample[`${name}_ms`] })),
  }),
  new Plot(byId("throughput"), {
    format: rate,
    tick: (value) => (Number.isInteger(value) ? count(value) : rate(value)),
    series: [{ name: "clicks", value: (sample) => sample.per_second, area: true }],
  }),
];

let token = null;
let connection = null;
let latest = null;
let receivedAt = null;
let drawing = false;
let countdown;

begin();

function begin() {
  byId("ask-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const entered = byId("token").value.trim();
    if (entered !== "") connect(entered);
  });
  byId("forget").addEventListener("click", () => {
    tokens.forget();
    ask("");
  });
  byId("retry").addEventListener("click", () => connection?.retryNow());
  addEventListener("online", () => connection?.retryNow());
  addEventListener("hashchange", useAddress);
  if (useAddress()) return;
  const stored = tokens.stored();
  if (stored === null) ask("");
  else connect(stored);
}

function useAddress() {
  const given = tokens.takeFromAddress();
  if (given !== null) connect(given);
  return given !== null;
}

// --- The token -------------------------------------------------------------------------------------------------------

function ask(message) {
  connection?.stop();
  connection = token = latest = null;
  byId("confirm").close();
  showCluster(false);
  showConnection({ tone: "idle", label: "Not connected" });
  stopCountdown();
  setText(byId("ask-message"), message);
  byId("token").value = "";
  byId("token").focus();
}

/** Either the cluster, with what belongs to it, or the form that asks for the token. */
function showCluster(shown) {
  for (const part of ["cluster", "facts", "forget", "skip"]) byId(part).hidden = !shown;
  byId("ask").hidden = shown;
}

// --- The connection --------------------------------------------------------------------------------------------------

function connect(candidate) {
  connection?.stop();
  stopCountdown();
  token = candidate;
  setText(byId("ask-message"), "");
  showConnection({ tone: "idle", label: "Connecting" });
  connection = new Connection("api/events", token, {
    opened: whenOpened,
    event: whenEvent,
    waiting: whenWaiting,
    refused: whenRefused,
  });
}

function whenOpened() {
  tokens.keep(token);
  byId("token").value = "";
  showCluster(true);
  stopCountdown();
  showConnection({ tone: "ok", label: "Live" });
  if (receivedAt === null) return;
  announce("Connected again");
  happened.add(ownEvent(`Connected again. What happened since ${clock(receivedAt)} may be missing here.`));
}

function whenRefused() {
  tokens.forget();
  ask("The gateway refused this token. It is the one in the gateway's own settings.");
}

function whenWaiting(reason, delay) {
  showConnection({ tone: "bad", label: latest === null ? "Not connected" : `Lost, as of ${clock(receivedAt)}` });
  const until = performance.now() + delay;
  const lost = `Not connected: ${reason}.`;
  announce(lost);
  const tell = () => {
    const left = Math.max(0, Math.ceil((until - performance.now()) / 1_000));
    setText(byId("lost-text"), left > 0 ? `${lost} Trying again in ${left} s.` : `${lost} Trying again.`);
  };
  stopCountdown();
  tell();
  byId("lost").hidden = false;
  document.body.classList.add("stale");
  countdown = setInterval(tell, 500);
}

function stopCountdown() {
  clearInterval(countdown);
  byId("lost").hidden = true;
  document.body.classList.remove("stale");
}

function showConnection(status) {
  setStatus(byId("connection"), status);
}

// --- What comes ------------------------------------------------------------------------------------------------------

function whenEvent(name, data) {
  if (name === "cluster") {
    noticeAnotherGateway(data.gateway?.id);
    latest = data;
    receivedAt = Date.now();
    history.add({ time: data.time, ...data.clicks });
  }
  if (name === "history") history.addAll(data.clicks);
  if (name === "happened") happened.add(data);
  drawSoon();
}

// Behind a load balancer the page may come back to another gateway, which sees other browsers' clicks.
function noticeAnotherGateway(id) {
  const before = latest?.gateway?.id;
  if (before === undefined || before === id) return;
  happened.add(ownEvent(`This is now gateway ${id}; clicks and traffic are what it sees.`));
}

const ownEvent = (text) => ({ time: Date.now(), kind: "page", session: null, runner: null, text });

// Once per frame at most, and not at all while the tab is hidden.
function drawSoon() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    happened.render();
    if (latest !== null) draw(latest);
  });
}

function draw(cluster) {
  const list = cluster.runners ?? [];
  drawFacts(cluster);
  drawSummary(cluster, list);
  const marks = happened.marks;
  for (const plot of plots) plot.draw(history.samples, marks);
  runners.set(list, cluster.revision);
  sessions.set(cluster.sessions ?? [], cluster.sessions_total, cluster.traces_url);
}

function drawFacts(cluster) {
  setText(facts.cluster, cluster.cluster ?? "–");
  setText(facts.revision, cluster.revision ?? revisionOf(cluster.runners ?? []));
  setText(facts.gateway, cluster.gateway?.id ?? "–");
  setText(facts.version, cluster.version ?? "–");
  const title = `${cluster.cluster ?? "cluster"} – Streamfleet`;
  if (document.title !== title) document.title = title;
}

/** Where none was chosen: the one that all have. */
function revisionOf(list) {
  const revisions = new Set(list.map((runner) => runner.revision));
  return revisions.size > 1 ? `${count(revisions.size)} at once` : ([...revisions][0] ?? "–");
}

function drawSummary(cluster, list) {
  const running = sumOf(list, (runner) => runner.running);
  const waits = list.map((runner) => runner.queue_wait_ms).filter(isNumber);
  setText(summary.ready, count(countReady(list)));
  setText(summary.ready_of, `of ${count(list.length)}`);
  setText(summary.sessions, count(cluster.sessions_total ?? sumOf(list, (runner) => runner.sessions)));
  setText(summary.running, `${count(running)} running`);
  setText(summary.clicks, rate(cluster.clicks?.per_second));
  setText(summary.p50, milliseconds(cluster.clicks?.p50_ms));
  setText(summary.p95, milliseconds(cluster.clicks?.p95_ms));
  setText(summary.queue, milliseconds(waits.length > 0 ? Math.max(...waits) : null));
  setText(summary.websockets, count(cluster.gateway?.websockets));
  setText(summary.received, bytesPerSecond(cluster.gateway?.received_bytes_per_second));
  setText(summary.sent, bytesPerSecond(cluster.gateway?.sent_bytes_per_second));
}

const sumOf = (list, value) => list.map(value).filter(isNumber).reduce((sum, number) => sum + number, 0);

// --- What can be done ------------------------------------------------------------------------------------------------

function askToDrain(runner) {
  const others = countReady((latest?.runners ?? []).filter((one) => one.id !== runner.id));
  const its = plural("session", runner.sessions);
  confirm({
    title: `Drain ${runner.id}?`,
    text:
      others > 0
        ? `It takes no more sessions, and hands its ${its} to the ${plural("other runner", others)} as their scripts come ` +
          "to rest. Nobody is disconnected. It can't be taken back."
        : `No other runner is ready: its ${its} would have nowhere to go. It can't be taken back.`,
    go: "Drain",
    done: `${runner.id} was told to drain.`,
    action: () => post(`api/runners/${encodeURIComponent(runner.id)}/drain`, token),
  });
}

function askToStop(session) {
  confirm({
    title: `Stop the run of ${session.id}?`,
    text: `What its script is doing on ${session.page ?? "its page"} is stopped where it stands. The session itself goes on.`,
    go: "Stop the run",
    done: `The run of ${session.id} was told to stop.`,
    action: () => post(`api/sessions/${encodeURIComponent(session.id)}/stop`, token),
  });
}
