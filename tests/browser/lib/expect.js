// Waiting assertions. Playwright's own belong to its test runner; these few are all that the cases need.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

const POLL_MS = 50;

/** Waits until `probe` returns something truthy, and returns that. */
export async function eventually(what, probe, limitMs = 15_000) {
  const deadline = Date.now() + limitMs;
  for (;;) {
    const value = await probe();
    if (value) return value;
    if (Date.now() > deadline) assert.fail(`${what}: not within ${limitMs} ms`);
    await sleep(POLL_MS);
  }
}

/** Waits until the page shows `text`, a string or a pattern. */
export async function shows(page, text) {
  await page.getByText(text).first().waitFor({ state: "visible" });
}

/** Waits until no run is in progress. */
export async function settled(page) {
  await page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]').waitFor({ state: "attached" });
}
