// A Python worker is killed under its user. The page must come back to life by itself.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { launchBrowser, screenshot, visiting } from "../lib/browser.js";
import { eventually, settled, shows } from "../lib/expect.js";
import { IS_PLAIN, startServer } from "../lib/server.js";

const RECOVERY_LIMIT_MS = 15_000;
const skip = IS_PLAIN && "plain Streamlit has no worker to lose but itself";

let browser, server;
before(async () => {
  if (skip) return;
  [browser, server] = await Promise.all([launchBrowser(), startServer("examples/hello/app.py", ["--workers=2"])]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

// Losing the connection is what the test is about, so the browser may say that it did.
const tolerated = [/WebSocket connection/, /Connection timed out/];

test("the page recovers from kill -9 without a reload", { skip }, () =>
  visiting(
    browser,
    server.url,
    "worker-death",
    async (page) => {
      const process_ = page.getByTestId("stMetric").filter({ hasText: "This session's process" });
      const workerPid = async () => Number(await process_.getByTestId("stMetricValue").innerText());
      const add = page.getByRole("button", { name: "Add one" });

      await add.click();
      await shows(page, "The count is 1");
      await settled(page);
      await page.evaluate(() => (window.sameDocument = true));

      const victim = await workerPid();
      process.kill(victim, "SIGKILL");
      await eventually("another process serves the session", async () => (await workerPid()) !== victim, RECOVERY_LIMIT_MS);
      await settled(page);
      await screenshot(page, "worker-death-recovered");

      const count = Number((await page.getByText(/^The count is \d+$/).innerText()).match(/\d+/)[0]);
      await add.click();
      await shows(page, `The count is ${count + 1}`);
      assert.equal(await page.evaluate(() => window.sameDocument), true, "the page was reloaded");
    },
    { tolerated },
  ));
