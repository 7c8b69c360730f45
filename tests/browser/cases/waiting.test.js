// The app is full: who comes next sees where they stand in line, and gets in by themselves.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { assertAccessible } from "../lib/accessible.js";
import { launchBrowser, screenshot, visiting } from "../lib/browser.js";
import { shows } from "../lib/expect.js";
import { IS_PLAIN, startServer } from "../lib/server.js";

const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 };
const skip = IS_PLAIN && "plain Streamlit lets everybody in";
// The waiting page comes, and asks, with a status that the browser notes.
const tolerated = [/503/];

let browser, server;
before(async () => {
  if (skip) return;
  const limits = { STREAMFLEET_MAX_SESSIONS: "1" };
  [browser, server] = await Promise.all([
    launchBrowser(),
    startServer("tests/browser/apps/typing.py", ["--workers=1"], limits),
  ]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

const visit = (name, steps, profile) => visiting(browser, server.url, `waiting-${name}`, steps, { tolerated, profile });
const stands = (page, place, of) => shows(page, `You are number ${place} of ${of} in line`);
const isInside = (page) => page.getByRole("button", { name: "Count" }).waitFor();

test("visitors wait in line, see their place, and get in by themselves", { skip }, () =>
  visit("first", async (first) => {
    await isInside(first);
    await visit("second", async (second) => {
      await stands(second, 1, 1);
      await visit(
        "third",
        async (third) => {
          await stands(third, 2, 2);
          assert.equal(await third.title(), "2 in line");
          await assertAccessible(third);
          await screenshot(third, "waiting-phone-dark");
          await assertAccessible(second);
          await screenshot(second, "waiting");

          // Who is inside loads the page anew, and stays inside.
          await first.reload();
          await isInside(first);
          await stands(second, 1, 2);

          await first.goto("about:blank");
          await isInside(second);
          await stands(third, 1, 1);
        },
        { ...PHONE, colorScheme: "dark" },
      );
    });
  }),
);
