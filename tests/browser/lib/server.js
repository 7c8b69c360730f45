// Starts the server under test, waits until it serves, and leaves nothing of it behind.
//
// BROWSER_TEST_SERVER=plain runs the same cases against plain Streamlit. That is the control: a case that fails there
// too says something about Streamlit or the case, not about Streamfleet.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

export const ROOT = fileURLToPath(new URL("../../../", import.meta.url)).replace(/\/$/, "");
export const IS_PLAIN = process.env.BROWSER_TEST_SERVER === "plain";

export const PYTHON = process.env.STREAMFLEET_TEST_PYTHON ?? `${ROOT}/target/test-env/py/bin/python`;
export const BINARY = process.env.STREAMFLEET_BIN ?? `${ROOT}/target/release/streamfleet`;
const START_LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 10_000;

const running = new Set();
// Whatever ends this process, the servers end with it.
process.on("exit", () => running.forEach((server) => server.kill("SIGKILL")));
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => process.exit(1));

/** Starts an app; `app` is relative to the repository, or "hello" for the demo inside the Streamlit package. */
export async function startServer(app, flags = [], env = {}) {
  const port = await freePort();
  const server = new Server(commandFor(app, port, flags), port, env);
  try {
    await server.untilServing();
  } catch (error) {
    await server.stop();
    throw error;
  }
  return server;
}

function commandFor(app, port, flags) {
  const target = app === "hello" ? ["hello"] : ["run", app.startsWith("/") ? app : `${ROOT}/${app}`];
  const common = ["--server.address=127.0.0.1", "--server.headless=true", "--browser.gatherUsageStats=false", ...flags];
  return IS_PLAIN
    ? [PYTHON, "-m", "streamlit", ...target, `--server.port=${port}`, ...common]
    : [BINARY, ...target, `--port=${port}`, `--python=${PYTHON}`, ...common];
}

/** A program with whatever it starts. */
export class Program {
  constructor(command, env = {}) {
    this.output = "";
    const [program, ...args] = command;
    // A process group of its own, so that workers can be ended together with their parent.
    const options = { cwd: ROOT, detached: true, stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...env } };
    this.child = spawn(program, args, options);
    this.child.on("error", (error) => (this.output += `${program}: ${error.message}\n`));
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream.setEncoding("utf8").on("data", (text) => (this.output += text));
    }
    running.add(this);
  }

  get ended() {
    return this.child.pid === undefined || this.child.exitCode !== null || this.child.signalCode !== null;
  }

  /** Waits until `serves()` says that it does. */
  async until(serves) {
    const deadline = Date.now() + START_LIMIT_MS;
    while (!(await serves())) {
      if (this.ended) throw new Error(`The server ended before it served:\n${this.output}`);
      if (Date.now() > deadline) throw new Error(`The server did not serve in ${START_LIMIT_MS} ms:\n${this.output}`);
      await sleep(50);
    }
  }

  /** Asks the server to end, and returns its exit code. Past the limit its whole group is killed. */
  async stop() {
    if (!this.ended) {
      const ended = once(this.child, "exit");
      this.child.kill("SIGTERM");
      await Promise.race([ended, sleep(STOP_LIMIT_MS, undefined, { ref: false })]);
    }
    const exitCode = this.child.exitCode;
    this.kill("SIGKILL");
    running.delete(this);
    return exitCode;
  }

  kill(signal) {
    if (this.child.pid === undefined) return;
    try {
      process.kill(-this.child.pid, signal);
    } catch (error) {
      if (error.code !== "ESRCH") throw error;
    }
  }
}

class Server extends Program {
  constructor(command, port, env) {
    super(command, env);
    this.url = `http://127.0.0.1:${port}`;
  }

  /** Waits for the line that a person waits for, and then for the health check to agree. */
  untilServing() {
    return this.until(async () => /\bURL: http/.test(this.output) && (await answers(`${this.url}/_stcore/health`)));
  }
}

/** Whether somebody answers there that all is well. */
export async function answers(url) {
  const answer = await fetch(url).catch(() => undefined);
  return answer?.ok ?? false;
}

export async function freePort() {
  const listener = createServer().listen(0, "127.0.0.1");
  await once(listener, "listening");
  const { port } = listener.address();
  listener.close();
  await once(listener, "close");
  return port;
}
