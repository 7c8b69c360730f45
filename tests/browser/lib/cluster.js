// A stand-in for a gateway's admin listener: serves the cluster page as gateway/page/README.md says, and the API behind
// it, with whatever a test wants to have shown. Run by itself it serves a made-up cluster for a person to look at.

import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";

import { makeCluster, makeHistory } from "./cluster_data.js";

const PAGE = fileURLToPath(new URL("../../../gateway/page/", import.meta.url));
const README = readFileSync(`${PAGE}README.md`, "utf8");
export const TOKEN = "correct horse battery staple";

/** Of the README: which files there are, with their types, and what headers they are served with. */
const FILES = new Map([...README.matchAll(/^\| `([\w.]+)` \| `(text\/[^`]+)` \|$/gm)].map(([, name, type]) => [name, type]));
const HEADERS = Object.fromEntries(
  README.match(/```\n(Content-Security-Policy:[^`]+)```/)[1].trim().split("\n").map((line) => line.split(/: (.*)/, 2)),
);

export class MockCluster {
  /** What is asked of it, as "POST /api/…". */
  requests = [];
  /** The status of the next streams; with one that isn't 200 nobody is connected. */
  status = 200;
  /** How the next actions are answered. */
  actionStatus = 202;
  actionBody = {};
  /** What each stream begins with. */
  greeting = [];
  #streams = new Set();

  static async start() {
    const cluster = new MockCluster();
    cluster.server = createServer((request, response) => cluster.#answer(request, response));
    await cluster.listen(0);
    return cluster;
  }

  async listen(port) {
    this.server.listen(port, "127.0.0.1");
    await once(this.server, "listening");
    this.port = this.server.address().port;
    this.url = `http://127.0.0.1:${this.port}/`;
    this.urlWithToken = `${this.url}#token=${encodeURIComponent(TOKEN)}`;
  }

  /** What a gateway does that ends, or is killed: nobody answers any more, until it listens again. */
  async stop() {
    this.server.close();
    this.server.closeAllConnections();
    await once(this.server, "close");
  }

  /** Sends an event to every page, and to each that comes. */
  show(name, data) {
    this.greeting = [...this.greeting.filter(([known]) => known !== name), [name, data]];
    this.send(name, data);
  }

  send(name, data) {
    this.sendRaw(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
  }

  sendRaw(text) {
    for (const stream of this.#streams) stream.write(text);
  }

  get pages() {
    return this.#streams.size;
  }

  dropStreams() {
    for (const stream of this.#streams) stream.destroy();
  }

  #answer(request, response) {
    const { pathname } = new URL(request.url, this.url);
    if (!pathname.startsWith("/api/")) return serveFile(pathname, response);
    this.requests.push(`${request.method} ${pathname}`);
    if (request.headers.authorization !== `Bearer ${TOKEN}`) return response.writeHead(401).end();
    if (pathname === "/api/events") return this.#stream(response);
    if (request.method !== "POST") return response.writeHead(405).end();
    response.writeHead(this.actionStatus, { "Content-Type": "application/json" }).end(JSON.stringify(this.actionBody));
  }

  #stream(response) {
    if (this.status !== 200) return response.writeHead(this.status).end();
    response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
    response.write(": hello\n\n");
    this.#streams.add(response);
    response.on("close", () => this.#streams.delete(response));
    for (const [name, data] of this.greeting) response.write(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
  }
}

function serveFile(pathname, response) {
  const name = pathname === "/" ? "index.html" : pathname.slice(1);
  if (!FILES.has(name)) return response.writeHead(404).end();
  response.writeHead(200, { ...HEADERS, "Content-Type": FILES.get(name) }).end(readFileSync(PAGE + name));
}

async function demonstrate() {
  const cluster = await MockCluster.start();
  const [runners, sessions] = [Number(process.argv[2] ?? 5), Number(process.argv[3] ?? 300)];
  const began = Date.now();
  cluster.show("history", makeHistory(began));
  const tell = () => {
    const time = Date.now();
    cluster.show("cluster", makeCluster({ runners, sessions, time, age: Math.floor((time - began) / 1_000) }));
  };
  tell();
  setInterval(tell, 1_000);
  setInterval(() => {
    const n = Math.floor(Math.random() * runners);
    const kind = ["handoff", "wakeup", "failover", "replay"][Math.floor(Math.random() * 4)];
    cluster.send("happened", { time: Date.now(), kind, session: "0123456789ab", runner: `runner-${n}`, text: `to runner-${n}` });
  }, 4_000);
  console.log(cluster.urlWithToken);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await demonstrate();
