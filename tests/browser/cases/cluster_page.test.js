// What the cluster page shows, of clusters that are empty, ordinary, large and hostile, on screens of all kinds.

import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";

import { assertAccessible } from "../lib/accessible.js";
import { launchBrowser, screenshot, visiting } from "../lib/browser.js";
import { MockCluster } from "../lib/cluster.js";
import { makeCluster, makeHistory, makeRunner, makeSession } from "../lib/cluster_data.js";
import { eventually, shows } from "../lib/expect.js";

const NOW = Date.UTC(2025, 0, 15, 10, 30);
const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 };

let browser, cluster;
before(async () => {
  [browser, cluster] = await Promise.all([launchBrowser(), MockCluster.start()]);
});
beforeEach(() => {
  cluster.greeting = [];
  cluster.show("history", makeHistory(NOW));
});
after(async () => {
  await browser?.close();
  await cluster?.stop();
});

const visit = (name, steps, profile) => visiting(browser, cluster.urlWithToken, `cluster-page-${name}`, steps, { profile });
const rows = (page, table) => page.locator(`#${table} tbody > .row`);
const happened = (kind, text, changes) => ({ time: NOW - 60_000, kind, session: null, runner: null, text, ...changes });
/** Waits until everything sent before is on the page. */
const upTo = (page, text) => {
  cluster.send("happened", happened("replay", text));
  return page.locator("#happened").getByText(text, { exact: true }).waitFor();
};

test("an ordinary cluster, light and dark, is complete and accessible", async () => {
  for (const colorScheme of ["light", "dark"]) {
    cluster.show("cluster", makeCluster({ runners: 5, sessions: 300, time: NOW }));
    await visit(colorScheme, async (page) => {
      await rows(page, "runners").nth(4).waitFor();
      assert.equal(await rows(page, "sessions").count(), 25);
      await shows(page, "1 to 25 of 300");
      assert.match(await page.locator("#summary").innerText(), /Runners ready\s+4 of 5/);
      assert.match(await page.locator("#latency .legend").innerText(), /p50\s+\d+ ms/);
      assert.equal(await page.title(), "production – Streamfleet");
      const session = "0123456789ab";
      cluster.send("happened", happened("handoff", "to runner-2: its runner drains", { session }));
      cluster.send("happened", happened("failover", "to runner-3 in 212 ms", { session }));
      cluster.send("happened", happened("drain", "runner-4 drains"));
      await page.getByRole("button", { name: "runner-1", exact: true }).click();
      await page.getByRole("table", { name: "Workers of runner-1" }).waitFor();
      await upTo(page, "all of it");
      assert.ok((await page.locator("#latency .mark.bad").getAttribute("d")).length > 0, "the failover is marked in the plot");
      await assertAccessible(page);
      const ground = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      assert.equal(ground, colorScheme === "light" ? "rgb(244, 245, 246)" : "rgb(18, 21, 24)");
    }, { colorScheme, viewport: { width: 1440, height: 1200 } });
  }
});

test("on a phone nothing is wider than the screen", async () => {
  cluster.show("cluster", makeCluster({ runners: 5, sessions: 300, time: NOW }));
  await visit("phone", async (page) => {
    await rows(page, "sessions").first().waitFor();
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), PHONE.viewport.width);
    await assertAccessible(page);
    await screenshot(page, "cluster-page-phone-top");
    await rows(page, "runners").nth(1).locator(".opener").click();
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), PHONE.viewport.width);
    for (const part of ["runners", "sessions"]) {
      await page.locator(`#${part}`).evaluate((element) => element.scrollIntoView());
      await screenshot(page, `cluster-page-phone-${part}`);
    }
    for (const field of ["Address", "Revision", "CPU"]) {
      assert.ok((await rows(page, "runners").first().locator(`[data-label="${field}"]`).boundingBox()).width > 0, field);
    }
  }, PHONE);
});

test("between phone and desktop the columns fit too", async () => {
  cluster.show("cluster", makeCluster({ runners: 5, sessions: 300, time: NOW }));
  for (const width of [970, 1180, 1280]) {
    await visit(`width-${width}`, async (page) => {
      await page.getByRole("button", { name: "runner-1", exact: true }).click();
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), width);
      const whole = await page.locator("#runners table").first().boundingBox();
      const last = await rows(page, "runners").first().locator("td.actions").boundingBox();
      assert.ok(Math.abs(last.x + last.width - whole.x - whole.width) < 1, "the last column ends where the table does");
      const name = rows(page, "runners").first().locator(".name [data-field=id]");
      assert.ok(await name.evaluate((element) => element.scrollWidth <= element.clientWidth), "names are whole");
    }, { viewport: { width, height: 900 } });
  }
});

test("a chosen theme stays chosen", async () => {
  cluster.show("cluster", makeCluster({ time: NOW }));
  await visit("theme", async (page) => {
    await page.getByLabel("Theme").selectOption("dark");
    const scheme = () => page.evaluate(() => getComputedStyle(document.documentElement).colorScheme);
    assert.equal(await scheme(), "dark");
    await page.reload();
    await rows(page, "runners").first().waitFor();
    assert.equal(await scheme(), "dark");
    assert.equal(await page.getByLabel("Theme").inputValue(), "dark");
  });
});

test("a cluster without runners says what to do", async () => {
  const clicks = { per_second: 0, p50_ms: null, p95_ms: null, p99_ms: null };
  cluster.show("cluster", makeCluster({ runners: 0, sessions: 0, time: NOW, revision: null, traces_url: null, clicks }));
  await visit("empty", async (page) => {
    await shows(page, "No runner has joined this cluster.");
    await shows(page, "No sessions.");
    await assertAccessible(page);
  });
});

test("50 runners and 1,000 of 3,400 sessions: filters, order, pages, in place", async () => {
  cluster.show("cluster", makeCluster({ runners: 50, sessions: 3_400, time: NOW }));
  await visit("large", async (page) => {
    await rows(page, "runners").nth(49).waitFor();
    await shows(page, "1,000 of 3,400 are listed here");
    await shows(page, "1 to 25 of 1,000");
    await assertAccessible(page);

    const sessions = page.locator("#sessions");
    await sessions.getByRole("button", { name: "Next" }).click();
    await shows(page, "26 to 50 of 1,000");
    await sessions.getByLabel("Sessions to show").selectOption("hibernated");
    await shows(page, /1 to 25 of \d\d\b/);
    for (const state of await rows(page, "sessions").locator(".state").allInnerTexts()) assert.equal(state, "Hibernated");
    await sessions.getByLabel("Sessions to show").selectOption("");

    await page.getByRole("button", { name: /^Show \d+ sessions of runner-1$/ }).click();
    assert.equal(await sessions.getByLabel("Filter sessions").inputValue(), "runner:runner-1");
    assert.deepEqual([...new Set(await rows(page, "sessions").locator(".name").allInnerTexts())], ["runner-1"]);
    await sessions.getByLabel("Filter sessions").fill("nothing has this");
    await shows(page, "No session matches.");
    await sessions.getByLabel("Filter sessions").fill("");

    await sessions.getByRole("button", { name: "Runs" }).click();
    assert.equal(await sessions.getByRole("columnheader", { name: "Runs" }).getAttribute("aria-sort"), "descending");
    const runs = (await rows(page, "sessions").locator('[data-field="runs"]').allInnerTexts()).map(Number);
    assert.deepEqual(runs, [...runs].sort((a, b) => b - a));
  });
});

test("an update changes numbers, not elements, and moves nothing", async () => {
  cluster.show("cluster", makeCluster({ runners: 50, sessions: 1_000, time: NOW }));
  await visit("in-place", async (page) => {
    await rows(page, "sessions").nth(24).waitFor();
    await page.evaluate(() => {
      globalThis.changes = 0;
      globalThis.shifts = 0;
      const isElement = ({ nodeType }) => nodeType === Node.ELEMENT_NODE;
      new MutationObserver((records) => {
        for (const { target, addedNodes, removedNodes } of records) {
          if (target.id !== "happened") globalThis.changes += [...addedNodes, ...removedNodes].filter(isElement).length;
        }
      }).observe(document.querySelector("#cluster"), { childList: true, subtree: true });
      new PerformanceObserver((list) => (globalThis.shifts += list.getEntries().length)).observe({
        type: "layout-shift",
      });
    });
    const age = rows(page, "sessions").first().locator('[data-field="age"]');
    const before = await age.innerText();
    for (let second = 60; second <= 300; second += 60) {
      cluster.show("cluster", makeCluster({ runners: 50, sessions: 1_000, time: NOW + second * 1_000, age: second }));
    }
    await upTo(page, "the last update");
    assert.notEqual(await age.innerText(), before);
    assert.deepEqual(await page.evaluate(() => [globalThis.changes, globalThis.shifts]), [0, 0]);
  });
});

test("rows stay where they are while somebody points at them", async () => {
  cluster.show("cluster", makeCluster({ runners: 3, sessions: 10, time: NOW }));
  await visit("held", async (page) => {
    const stop = rows(page, "sessions").nth(3).getByRole("button", { name: /^Stop/ });
    const ids = () => rows(page, "sessions").locator(".session").allInnerTexts();
    const before = await eventually("the sessions", async () => (await ids()).length === 10 && ids());
    await stop.hover();
    const gone = makeCluster({ runners: 3, sessions: 10, time: NOW + 1_000 });
    gone.sessions = gone.sessions.filter(({ id }) => id !== before[0]);
    cluster.show("cluster", gone);
    await rows(page, "sessions").first().getByText("Gone").waitFor();
    assert.deepEqual(await ids(), before);
    await page.locator("h1").hover();
    cluster.show("cluster", gone);
    await eventually("the row goes", async () => (await ids()).length === 9);
  });
});

test("what the gateway sends is text, whatever it says", async () => {
  const markup = '<img src=x onerror="globalThis.hurt = 1"><script>globalThis.hurt = 1</script>';
  const runner = { ...makeRunner(0), id: markup, address: markup, phase: "ready", revision: markup };
  runner.workers = [{ index: markup, state: markup, sessions: markup, running: -1, memory_bytes: "1", lag_ms: {} }];
  const marked = { runner: markup, worker: markup, state: markup, page: markup, unsaved: [markup, ...Array(300).fill("key")] };
  const session = { ...makeSession(1, 1), ...marked, id: "javascript:alert(1)" };
  const texts = { cluster: markup, revision: markup, version: markup, traces_url: "javascript:alert('{session}')" };
  const runners = [runner, { id: "bare", phase: markup }];
  cluster.show("cluster", { ...makeCluster({ time: NOW, ...texts }), runners, sessions: [session, { id: "bare" }] });
  await visit("hostile", async (page) => {
    await rows(page, "runners").nth(1).waitFor();
    await rows(page, "runners").first().locator(".opener").click();
    for (const kind of [markup, "__proto__", "failover"]) {
      cluster.send("happened", happened(kind, markup, { session: markup, runner: markup }));
    }
    cluster.sendRaw("event: cluster\ndata: {not json\n\nevent: cluster\ndata: null\n\nevent: happened\ndata: null\n\n");
    await upTo(page, "after all of that");
    assert.equal(await page.evaluate(() => globalThis.hurt), undefined);
    assert.equal(await page.locator("img, #cluster script").count(), 0);
    assert.equal(await page.locator("#sessions a:visible").count(), 0, "no link leads to a script");
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 1280);
    await rows(page, "runners").getByRole("button", { name: "Drain <img" }).click();
    await shows(page.getByRole("dialog"), /No other runner is ready/);
    await assertAccessible(page);
  });
});

test("a moment on a plot is chosen with the keyboard", async () => {
  cluster.show("cluster", makeCluster({ time: NOW }));
  await visit("moment", async (page) => {
    const plot = page.getByRole("slider", { name: /click latency/ });
    await plot.focus();
    await page.keyboard.press("ArrowLeft");
    await page.keyboard.press("ArrowLeft");
    assert.equal(await plot.getAttribute("aria-valuenow"), "-2");
    assert.match(await plot.getAttribute("aria-valuetext"), /^\d\d:\d\d:\d\d: p50 [\d.]+ ms, p95 .* ms, p99 .* ms$/);
    assert.match(await page.locator("#latency time").innerText(), /^\d\d:\d\d:\d\d$/);
    await page.keyboard.press("Escape");
    assert.equal(await page.locator("#latency time").innerText(), "");
  });
});

test("links lead from sessions to their traces", async () => {
  const data = makeCluster({ time: NOW });
  cluster.show("cluster", data);
  await visit("traces", async (page) => {
    const { id } = data.sessions[7];
    await page.getByLabel("Filter sessions").fill(id);
    const link = page.getByRole("link", { name: `Traces of ${id}` });
    assert.equal(await link.getAttribute("href"), `http://traces.example/search?session=${id}`);
    assert.equal(await link.getAttribute("rel"), "noopener noreferrer");
  });
});
