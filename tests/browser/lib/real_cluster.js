// A real cluster: Redis, runners and one gateway, each a process of its own.

import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";

import { answers, BINARY, freePort, Program, PYTHON, ROOT } from "./server.js";

export const TOKEN = "a token for those who operate it";

const accepts = (port) =>
  new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => socket.end(() => resolve(true)));
    socket.on("error", () => resolve(false));
  });

export class RealCluster {
  /** Names of runners, as they begin, with their processes. */
  runners = new Map();

  /** Starts `runners` runners of an app, which is relative to the repository. `env` is for runners and gateway. */
  static async start(app, runners, env = {}) {
    const cluster = new RealCluster();
    cluster.folder = mkdtempSync(`${tmpdir()}/streamfleet-browser-`);
    try {
      await cluster.#start(app, runners, env);
    } catch (error) {
      await cluster.stop();
      throw error;
    }
    return cluster;
  }

  async #start(app, runners, env) {
    const [redis, listen, admin] = await Promise.all([freePort(), freePort(), freePort()]);
    const common = {
      ...env,
      STREAMFLEET_REDIS: `redis://127.0.0.1:${redis}`,
      STREAMFLEET_SECRET: "a secret that all runners of these tests share",
      STREAMFLEET_ADMIN_TOKEN: TOKEN,
    };
    const options = ["--port", `${redis}`, "--bind", "127.0.0.1", "--save", "", "--dir", this.folder];
    this.redis = new Program(["redis-server", ...options]);
    await this.redis.until(() => accepts(redis));
    for (let n = 0; n < runners; n += 1) {
      const [port, adminPort] = await Promise.all([freePort(), freePort()]);
      const addresses = [`--listen=127.0.0.1:${port}`, `--admin-listen=127.0.0.1:${adminPort}`];
      const flags = ["--workers=1", "--server.headless=true", "--browser.gatherUsageStats=false"];
      const command = [BINARY, "runner", `${ROOT}/${app}`, `--python=${PYTHON}`, `--name=r${n}`, ...addresses, ...flags];
      this.runners.set(`r${n}`, new Program(command, common));
      this.runners.get(`r${n}`).admin = `http://127.0.0.1:${adminPort}`;
    }
    this.gateway = new Program([BINARY, "gateway", `--listen=127.0.0.1:${listen}`, `--admin-listen=127.0.0.1:${admin}`], {
      ...common,
      STREAMFLEET_SHUTDOWN_NOTICE: "0",
      STREAMFLEET_SHUTDOWN_SPREAD: "0",
    });
    this.url = `http://127.0.0.1:${listen}`;
    this.pageUrl = `http://127.0.0.1:${admin}/`;
    this.pageUrlWithToken = `${this.pageUrl}#token=${encodeURIComponent(TOKEN)}`;
    for (const runner of this.runners.values()) await runner.until(() => answers(`${runner.admin}/readyz`));
    await this.gateway.until(() => answers(`${this.pageUrl}readyz`));
  }

  /** The process of the runner whose full name this is. */
  runner(id) {
    return this.runners.get(id.split("-")[0]);
  }

  async stop() {
    await Promise.all([this.gateway, ...this.runners.values()].map((program) => program?.stop()));
    await this.redis?.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
