// What axe-core finds wrong with a page.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Holds the page as it is now to all of axe-core's rules, good practice included. */
export async function assertAccessible(page) {
  await page.evaluate(AXE);
  const { violations, passes } = await page.evaluate(() => globalThis.axe.run(document));
  const faults = violations.map(
    ({ impact, help, nodes }) => `${impact}: ${help}: ${nodes.slice(0, 3).map(({ html }) => html).join(" ")}`,
  );
  assert.deepEqual(faults, []);
  assert.ok(passes.length > 10, "axe-core looked at the page");
}
