// The cluster page on a real cluster: with people who click, a runner that is killed under them, and an operator.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { assertAccessible } from "../lib/accessible.js";
import { launchBrowser, screenshot, visiting } from "../lib/browser.js";
import { eventually, shows } from "../lib/expect.js";
import { RealCluster, TOKEN } from "../lib/real_cluster.js";
import { IS_PLAIN } from "../lib/server.js";

const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 };
const USERS = 4;
/** A gateway looks every second, and waits for its runners for another at most. */
const LONGER_THAN_A_STATUS_MS = 3_000;
const skip = IS_PLAIN && "plain Streamlit has no cluster";

let browser, cluster;
const users = [];
before(async () => {
  if (skip) return;
  const traces = { STREAMFLEET_TRACES_URL: "http://traces.example/search?session={session}" };
  [browser, cluster] = await Promise.all([launchBrowser(), RealCluster.start("tests/browser/apps/crowd.py", 3, traces)]);
  for (let n = 0; n < USERS; n += 1) users.push(await User.open());
});
after(async () => {
  await Promise.all(users.map((user) => user.close()));
  await browser?.close();
  await cluster?.stop();
});

/** Somebody who clicks, and counts along. */
class User {
  #stopped = false;
  #clicking = Promise.resolve();
  count = 0;

  static async open() {
    const user = new User();
    user.context = await browser.newContext();
    user.context.setDefaultTimeout(30_000);
    await user.context.route((address) => address.origin !== cluster.url, (route) => route.fulfill({ status: 204 }));
    user.page = await user.context.newPage();
    await user.page.goto(cluster.url);
    await user.#shows(0);
    await user.page.evaluate(() => (globalThis.sameDocument = true));
    user.#clicking = user.#click();
    // Whoever waits for it is told; until then it is nobody's error.
    user.#clicking.catch(() => {});
    return user;
  }

  #shows(count) {
    return this.page.getByText(`Count is ${count}`, { exact: true }).waitFor();
  }

  async #click() {
    while (!this.#stopped) {
      await this.page.getByRole("button", { name: "Count" }).click();
      this.count += 1;
      await this.#shows(this.count);
    }
  }

  /** Stops clicking. Throws what went wrong in between. */
  async rest() {
    this.#stopped = true;
    await this.#clicking;
    assert.equal(await this.page.evaluate(() => globalThis.sameDocument), true, "the page was reloaded");
  }

  async close() {
    this.#stopped = true;
    await this.context.close();
  }
}

const visit = (name, steps, profile) =>
  visiting(browser, cluster.pageUrlWithToken, `cluster-page-real-${name}`, steps, { profile });
const rows = (page, table) => page.locator(`#${table} tbody > .row`);
const happened = (page, kind) => page.locator("#happened").getByText(kind, { exact: true });

/** The runners by name, with how many sessions the page says that they have. */
async function sessionsOf(page) {
  // All at once, as rows come and go.
  const pairs = await rows(page, "runners").evaluateAll((elements) =>
    elements.map((row) => ["id", "sessions"].map((name) => row.querySelector(`[data-field="${name}"]`).innerText)),
  );
  return new Map(pairs.map(([id, sessions]) => [id, Number(sessions)]));
}

const sum = (numbers) => [...numbers].reduce((total, number) => total + number, 0);

test("a wrong token is refused, and the right one is let in", { skip }, () =>
  visiting(browser, `${cluster.pageUrl}#token=wrong`, "cluster-page-real-token", async (page) => {
    const token = page.locator("#token");
    await token.waitFor();
    assert.equal(await rows(page, "runners").count(), 0);
    for (const path of ["api/events", "metrics"]) {
      for (const authorization of ["", "Bearer wrong"]) {
        const answer = await fetch(cluster.pageUrl + path, { headers: authorization ? { authorization } : {} });
        assert.equal(answer.status, 401, `${path}, ${authorization}`);
      }
    }
    await token.fill(TOKEN);
    await token.press("Enter");
    await rows(page, "runners").nth(2).waitFor();
  }, { tolerated: [/\b401\b/] }));

test("people who click are seen, and so is the death of a runner that they don't notice", { skip }, () =>
  visit("failover", async (page) => {
    await rows(page, "runners").nth(2).waitFor();
    await eventually("all sessions are listed", async () => (await rows(page, "sessions").count()) === USERS);
    await eventually("clicks are plotted", async () => /p50\s+[\d.]+ m?s/.test(await page.locator("#latency .legend").innerText()));
    const link = page.getByRole("link", { name: /^Traces of / }).first();
    assert.match(await link.getAttribute("href"), /^http:\/\/traces\.example\/search\?session=[0-9a-f]{12}$/);

    const [victim, lost] = [...(await sessionsOf(page))].sort(([, a], [, b]) => b - a)[0];
    assert.ok(lost > 0);
    const counts = users.map((user) => user.count);
    cluster.runner(victim).kill("SIGKILL");
    await eventually("the failovers are told", async () => (await happened(page, "Failover").count()) === lost);
    await eventually("the runner's lease ends", async () => (await happened(page, "Runner left").count()) === 1);
    const entry = page.locator("#happened li").filter({ hasText: "Failover" }).first().locator(".text");
    assert.match(await entry.innerText(), /^[0-9a-f]{12} to r\d-\w+ from r\d-\w+ in \d+ ms/);
    await eventually("its sessions are elsewhere", async () => {
      const now = await sessionsOf(page);
      return !now.get(victim) && sum(now.values()) === USERS;
    });
    await eventually("everybody clicks on", () => users.every((user, n) => user.count > counts[n] + 2), 30_000);
    assert.ok((await page.locator("#latency .mark.bad").getAttribute("d")).length > 0, "the failovers are marked in the plot");
    await assertAccessible(page);
    await screenshot(page, "cluster-page-real-light");
    await page.getByLabel("Theme").selectOption("dark");
    await assertAccessible(page);
    await screenshot(page, "cluster-page-real-dark");
  }, { viewport: { width: 1440, height: 1200 } }));

test("a phone shows it too", { skip }, () =>
  visit("phone", async (page) => {
    await rows(page, "sessions").nth(USERS - 1).waitFor();
    // The page has been open for a moment only, but the gateway remembers.
    const seconds = (await page.locator("#latency .series.p50").getAttribute("d")).split("L").length;
    assert.ok(seconds > 5, `${seconds} seconds are plotted`);
    assert.match(await page.locator("#facts").innerText(), /Revision\s+[0-9a-f]{12}/);
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), PHONE.viewport.width);
    await assertAccessible(page);
  }, PHONE));

test("a runner is drained, and its people click on", { skip }, () =>
  visit("drain", async (page) => {
    await eventually("both runners have sessions, or one has all", async () => sum((await sessionsOf(page)).values()) === USERS);
    const [name, moving] = [...(await sessionsOf(page))].sort(([, a], [, b]) => b - a)[0];
    await page.getByRole("button", { name: `Drain ${name}` }).click();
    const dialog = page.getByRole("dialog", { name: `Drain ${name}?` });
    await dialog.getByRole("button", { name: "Drain" }).click();
    await shows(page, `${name} was told to drain.`);
    const row = rows(page, "runners").filter({ hasText: name });
    await row.getByText("Draining").waitFor();
    await eventually("its sessions leave", async () => (await sessionsOf(page)).get(name) === 0);
    assert.ok((await happened(page, "Handoff").count()) >= moving);
    const counts = users.map((user) => user.count);
    await eventually("everybody clicks on", () => users.every((user, n) => user.count > counts[n] + 2), 30_000);
    await screenshot(page, "cluster-page-real-drained");
  }, { viewport: { width: 1440, height: 1000 } }));

test("a run that goes on is stopped", { skip }, () =>
  visit("stop", async (page) => {
    await Promise.all(users.map((user) => user.rest()));
    const [user] = users;
    await user.page.getByRole("button", { name: "Wait" }).click();
    await user.page.getByText("Waiting").waitFor();
    const running = rows(page, "sessions").filter({ hasText: "Running" });
    const ids = () => running.locator('[data-field="id"]').allInnerTexts();
    // What the page tells may be from a moment ago, when others still clicked: the one that goes on is seen for longer.
    const waiting = await eventually("one run is seen to go on", async () => {
      const before = await ids();
      await sleep(LONGER_THAN_A_STATUS_MS);
      const after = await ids();
      return before.length === 1 && after.length === 1 && before[0] === after[0] && after[0];
    }, 30_000);
    await page.getByRole("button", { name: `Stop the run of ${waiting}` }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Stop the run" }).click();
    await user.page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]').waitFor({ state: "attached" });
    await eventually("nothing runs any more", async () => (await running.count()) === 0);
  }));
