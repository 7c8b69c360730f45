// A Python worker is killed while its user types. The user must notice nothing: no reload, no new connection, no lost letter.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { launchBrowser, visiting } from "../lib/browser.js";
import { eventually, settled } from "../lib/expect.js";
import { IS_PLAIN, startServer } from "../lib/server.js";

const RECOVERY_LIMIT_MS = 15_000;
const ROUNDS = 3;
const skip = IS_PLAIN && "plain Streamlit has no worker to lose but itself";

let browser, server;
before(async () => {
  if (skip) return;
  [browser, server] = await Promise.all([launchBrowser(), startServer("tests/browser/apps/typing.py", ["--workers=2"])]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

/** Reads what the page says: the serving process, the count and the text. */
async function status(page) {
  const shown = await page.getByText(/^Process \d+, count \d+, text '.*'$/).innerText();
  const [, pid, count, text] = shown.match(/^Process (\d+), count (\d+), text '(.*)'$/);
  return { pid: Number(pid), count: Number(count), text };
}

test("a worker killed while its user types is not missed", { skip }, () =>
  visiting(browser, server.url, "failover", async (page) => {
    const click = () => page.getByRole("button", { name: "Count" }).click();
    const field = page.getByLabel("Text");
    await status(page);
    await settled(page);
    const sockets = [];
    page.on("websocket", (socket) => sockets.push(socket.url()));
    await page.evaluate(() => (window.sameDocument = true));

    let typed = "";
    for (let round = 1; round <= ROUNDS; round++) {
      const { pid: victim } = await status(page);
      await field.press("End");
      await field.pressSequentially(`before ${round}, `);
      process.kill(victim, "SIGKILL");
      await field.pressSequentially(`after ${round}. `);
      typed += `before ${round}, after ${round}. `;
      assert.equal(await field.inputValue(), typed);

      // Leaving the field sends the text, and the button its press.
      await click();
      const counted = async () => (await status(page)).count === round;
      await eventually("the click is counted once", counted, RECOVERY_LIMIT_MS);
      await settled(page);
      const { pid, count, text } = await status(page);
      assert.notEqual(pid, victim);
      assert.deepEqual({ count, text }, { count: round, text: typed });
      assert.equal(await field.inputValue(), typed);
    }
    assert.equal(await page.evaluate(() => window.sameDocument), true, "the page was reloaded");
    assert.deepEqual(sockets, [], "the page has connected again");
  }),
);
