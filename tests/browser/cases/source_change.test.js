// Editing a script while it is served: the page offers a rerun, and the session keeps its state.

import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { launchBrowser, screenshot, visiting } from "../lib/browser.js";
import { settled, shows } from "../lib/expect.js";
import { ROOT, startServer } from "../lib/server.js";

let browser, server, folder, script;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "streamfleet-edited-"));
  script = join(folder, "edited.py");
  await cp(`${ROOT}/tests/browser/apps/edited.py`, script);
  [browser, server] = await Promise.all([launchBrowser(), startServer(script)]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});

async function replaceInScript(before, after) {
  await writeFile(script, (await readFile(script, "utf8")).replace(before, after));
}

test("a changed source is noticed, and rerun on demand or always", () =>
  visiting(browser, server.url, "source-change", async (page) => {
    await shows(page, "Edition one, count 0");
    await page.getByRole("button", { name: "Count" }).click();
    await shows(page, "Edition one, count 1");
    await settled(page);

    await replaceInScript("Edition one", "Edition two");
    const rerun = page.getByRole("button", { name: "Rerun", exact: true });
    await rerun.waitFor();
    await screenshot(page, "source-change-offer");
    await shows(page, "Edition one, count 1");
    await rerun.click();
    await shows(page, "Edition two, count 1");
    await settled(page);

    await replaceInScript("Edition two", "Edition three");
    await page.getByRole("button", { name: "Always rerun" }).click();
    await shows(page, "Edition three, count 1");
    await settled(page);

    await replaceInScript("Edition three", "Edition four");
    await shows(page, "Edition four, count 1");
  }));
