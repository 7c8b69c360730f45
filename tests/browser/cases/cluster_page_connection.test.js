// The cluster page's dealings with the gateway: the token, the stream of events, and what an operator has it do.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";

import { assertAccessible } from "../lib/accessible.js";
import { launchBrowser, screenshot, visiting } from "../lib/browser.js";
import { MockCluster, TOKEN } from "../lib/cluster.js";
import { makeCluster } from "../lib/cluster_data.js";
import { eventually, shows } from "../lib/expect.js";

const NOW = Date.UTC(2025, 0, 15, 10, 30);

let browser, cluster;
before(async () => {
  browser = await launchBrowser();
});
after(() => browser?.close());
beforeEach(async () => {
  cluster = await MockCluster.start();
  cluster.show("cluster", makeCluster({ runners: 3, sessions: 40, time: NOW }));
});
afterEach(() => cluster.stop());

const visit = (name, steps, { tolerated, url = cluster.urlWithToken } = {}) =>
  visiting(browser, url, `cluster-page-${name}`, steps, { tolerated });
const live = (page) => page.locator("#connection").getByText("Live").waitFor();
const refused = [/401/];
const failing = [/ERR_CONNECTION_REFUSED/, /ERR_INCOMPLETE_CHUNKED_ENCODING/, /\b503\b/];
const enter = async (page, token) => {
  await page.getByLabel("The token that this gateway").fill(token);
  await page.keyboard.press("Enter");
};

test("the token is asked for, refused, accepted, kept, and forgotten", () =>
  visit("token", async (page) => {
    await enter(page, "wrong");
    await shows(page, "The gateway refused this token.");
    await screenshot(page, "cluster-page-refused");
    await assertAccessible(page);
    assert.equal(await page.locator("#cluster").isVisible(), false);
    await enter(page, "not even ☃ a header");
    await shows(page, "The gateway refused this token.");
    await enter(page, TOKEN);
    await live(page);
    await page.reload();
    await live(page);
    await page.getByRole("button", { name: "Forget token" }).click();
    await page.getByLabel("The token that this gateway").waitFor();
    await eventually("the stream is closed", () => cluster.pages === 0);
    await page.reload();
    await page.getByLabel("The token that this gateway").waitFor();
    assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  }, { url: cluster.url, tolerated: refused }));

test("a token in the address is used, and taken out of it at once", () =>
  visit("fragment", async (page) => {
    await live(page);
    assert.equal(page.url(), cluster.url);
    assert.equal(await page.evaluate(() => history.length), 2, "a blank page and this one");
  }));

test("a token that is refused later is asked for again, once", () =>
  visit("revoked", async (page) => {
    await live(page);
    await page.evaluate(() => sessionStorage.setItem("streamfleet.token", "revoked"));
    await page.reload();
    await shows(page, "The gateway refused this token.");
    assert.equal(cluster.requests.filter((request) => request === "GET /api/events").length, 2);
  }, { tolerated: refused }));

test("a gateway that goes is noticed, and found again when it is back", () =>
  visit("reconnect", async (page) => {
    await live(page);
    const { port } = cluster;
    await cluster.stop();
    await page.locator("#connection").getByText(/^Lost, as of \d\d:\d\d:\d\d$/).waitFor();
    await shows(page, /^Not connected: the gateway can't be reached\./);
    await assertAccessible(page);
    await screenshot(page, "cluster-page-lost");
    await cluster.listen(port);
    const back = makeCluster({ runners: 4, sessions: 40, time: NOW + 9_000 });
    back.gateway.id = "gateway-b2";
    cluster.show("cluster", back);
    await page.getByRole("button", { name: "Try now" }).click();
    await live(page);
    await page.locator("#runners .row").nth(3).waitFor();
    assert.equal(await page.locator("#lost").isVisible(), false);
    await shows(page.locator("#happened"), /^Connected again\./);
    await shows(page.locator("#happened"), /This is now gateway gateway-b2/);
  }, { tolerated: failing }));

test("it comes back later each time, by itself", () =>
  visit("back-off", async (page) => {
    await live(page);
    cluster.status = 503;
    const before = cluster.requests.length;
    cluster.dropStreams();
    await shows(page, /the gateway answered 503/);
    // After 0.5, 1 and 2 seconds: the fourth attempt would be no sooner than 5.6 seconds after the first.
    await eventually("three attempts", () => cluster.requests.length === before + 3);
    cluster.status = 200;
    await live(page);
    const delays = await page.evaluate(async () => {
      const { delayAfter } = await import("/stream.js");
      return [1, 2, 3, 6, 60].flatMap((failures) => [delayAfter(failures, 0), delayAfter(failures, 1)]);
    });
    assert.deepEqual(delays, [375, 500, 750, 1_000, 1_500, 2_000, 11_250, 15_000, 11_250, 15_000]);
  }, { tolerated: failing }));

test("events that were told before are not told again", () =>
  visit("again", async (page) => {
    cluster.show("happened", { time: NOW, kind: "failover", session: "0123456789ab", runner: "runner-1", text: "to runner-1" });
    await shows(page, "to runner-1");
    cluster.dropStreams();
    await shows(page.locator("#happened"), /^Connected again\./);
    assert.equal(await page.locator("#happened").getByText("to runner-1").count(), 1);
    await page.getByRole("button", { name: "Show session 0123456789ab" }).click();
    assert.equal(await page.getByLabel("Filter sessions").inputValue(), "0123456789ab");
  }, { tolerated: failing }));

test("a stream is read right, wherever it is cut", () =>
  visit("parser", async (page) => {
    const read = await page.evaluate(async () => {
      const { EventParser } = await import("/stream.js");
      const text =
        ": hi\r\n\r\nevent: a\r\ndata: 1\r\n\r\ndata: two\ndata:  lines\n\n" +
        "event: nothing\n\nevent:b\rdata\r\rid: 7\ndata: {\"é\":1}\n\n";
      const whole = new EventParser().push(text);
      for (let size = 1; size < 9; size += 1) {
        const parser = new EventParser();
        const events = [];
        for (let at = 0; at < text.length; at += size) events.push(...parser.push(text.slice(at, at + size)));
        if (JSON.stringify(events) !== JSON.stringify(whole)) throw new Error(`differs in pieces of ${size}`);
      }
      return whole;
    });
    assert.deepEqual(read, [
      { name: "a", data: "1" },
      { name: "message", data: "two\n lines" },
      { name: "b", data: "" },
      { name: "message", data: '{"é":1}' },
    ]);
  }));

const posts = () => cluster.requests.filter((request) => request.startsWith("POST"));

test("a runner is drained after confirmation, by keyboard", () =>
  visit("drain", async (page) => {
    const drain = page.getByRole("button", { name: "Drain runner-1" });
    await drain.focus();
    await page.keyboard.press("Enter");
    const dialog = page.getByRole("dialog", { name: "Drain runner-1?" });
    await shows(dialog, /hands its \d+ sessions to the 2 other runners/);
    await screenshot(page, "cluster-page-confirm");
    await assertAccessible(page);
    await page.keyboard.press("Escape");
    await dialog.waitFor({ state: "hidden" });
    assert.deepEqual(posts(), []);
    assert.ok(await drain.evaluate((element) => element === document.activeElement), "the focus is back");

    await page.keyboard.press("Enter");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await shows(page, "runner-1 was told to drain.");
    assert.deepEqual(posts(), ["POST /api/runners/runner-1/drain"]);
  }));

test("the last runner that is ready isn't drained without a warning", () => {
  cluster.show("cluster", makeCluster({ runners: 1, sessions: 12, time: NOW }));
  return visit("drain-last", async (page) => {
    await page.getByRole("button", { name: "Drain runner-0" }).click();
    await shows(page.getByRole("dialog"), /No other runner is ready: its 12 sessions would have nowhere to go/);
  });
});

test("a drain that is refused says why, and can be tried again", () =>
  visit("drain-refused", async (page) => {
    cluster.actionStatus = 409;
    cluster.actionBody = { error: "runner-1 is draining already" };
    await page.getByRole("button", { name: "Drain runner-1" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByRole("button", { name: "Drain" }).click();
    await shows(dialog.getByRole("alert"), "runner-1 is draining already");
    cluster.actionStatus = 502;
    cluster.actionBody = null;
    await dialog.getByRole("button", { name: "Drain" }).click();
    await shows(dialog.getByRole("alert"), "The gateway answered 502.");
    cluster.actionStatus = 202;
    await dialog.getByRole("button", { name: "Drain" }).click();
    await dialog.waitFor({ state: "hidden" });
  }, { tolerated: [/\b409\b/, /\b502\b/] }));

test("a session's run is stopped after confirmation, and only while there is one", () =>
  visit("stop", async (page) => {
    const data = makeCluster({ runners: 3, sessions: 40, time: NOW });
    const running = data.sessions.find((session) => session.running);
    const idle = data.sessions.find((session) => !session.running);
    for (const { id } of [idle, running]) {
      await page.getByLabel("Filter sessions").fill(id);
      await page.getByRole("button", { name: `Stop the run of ${id}` }).click({ force: true });
      if (id === idle.id) assert.equal(await page.getByRole("dialog").isVisible(), false);
    }
    const dialog = page.getByRole("dialog", { name: `Stop the run of ${running.id}?` });
    await dialog.getByRole("button", { name: "Stop the run" }).click();
    await shows(page, `The run of ${running.id} was told to stop.`);
    assert.deepEqual(posts(), [`POST /api/sessions/${running.id}/stop`]);
  }));
