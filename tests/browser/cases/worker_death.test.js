// A Python worker is killed under its user. The page must come back to life by itself.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { launchBrowser, screenshot, visiting } from "../lib/browser.js";
import { eventually, settled } from "../lib/expect.js";
import { IS_PLAIN, startServer } from "../lib/server.js";

const RECOVERY_LIMIT_MS = 15_000;
const skip = IS_PLAIN && "plain Streamlit has no worker to lose but itself";

let browser, server;
before(async () => {
  if (skip) return;
  [browser, server] = await Promise.all([launchBrowser(), startServer("tests/browser/apps/process.py", ["--workers=2"])]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

// Losing the connection is what the test is about, so the browser may say that it did.
const tolerated = [/WebSocket connection/, /Connection timed out/];

/** Reads what the page says: the serving process and the count. */
async function status(page) {
  const text = await page.getByText(/^Process \d+, count \d+$/).innerText();
  const [pid, count] = text.match(/\d+/g).map(Number);
  return { pid, count };
}

test("the page recovers from kill -9 without a reload", { skip }, (t) =>
  visiting(
    browser,
    server.url,
    "worker-death",
    async (page) => {
      const click = () => page.getByRole("button", { name: "Count" }).click();
      await click();
      await eventually("the click is counted", async () => (await status(page)).count === 1);
      await settled(page);
      await page.evaluate(() => (window.sameDocument = true));

      const { pid: victim } = await status(page);
      const reconnecting = page.waitForEvent("websocket", { timeout: RECOVERY_LIMIT_MS });
      const killed = Date.now();
      process.kill(victim, "SIGKILL");
      await reconnecting;
      t.diagnostic(`the page connected again after ${Date.now() - killed} ms`);

      // Streamlit's page asks for nothing when it comes back, so the first to hear of the new process is a click.
      await click();
      const answered = async () => {
        const { pid, count } = await status(page);
        return pid !== victim && count > 0;
      };
      await eventually("another process answers a click", answered, RECOVERY_LIMIT_MS);
      await settled(page);
      await screenshot(page, "worker-death-recovered");

      const { count } = await status(page);
      await click();
      await eventually("the next click is counted", async () => (await status(page)).count === count + 1);
      assert.equal(await page.evaluate(() => window.sameDocument), true, "the page was reloaded");
    },
    { tolerated },
  ));
