// Parts of a page that run on their own: a dialog, fragments, the camera.

import { after, before, test } from "node:test";

import { launchBrowser, screenshot, visiting } from "../lib/browser.js";
import { eventually, shows } from "../lib/expect.js";
import { startServer } from "../lib/server.js";

let browser, server;
before(async () => {
  [browser, server] = await Promise.all([launchBrowser(), startServer("tests/browser/apps/parts.py")]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

const visit = (name, steps) => visiting(browser, server.url, `parts-${name}`, steps);

test("a dialog opens, takes input and closes", () =>
  visit("dialog", async (page) => {
    await page.getByRole("button", { name: "Open the book" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Your name").fill("Grace");
    await dialog.getByLabel("Your name").press("Enter");
    await screenshot(page, "parts-dialog-open");
    await dialog.getByRole("button", { name: "Sign", exact: true }).click();
    await shows(page, "Signed by Grace");
    await dialog.waitFor({ state: "hidden" });
  }));

test("a dialog is dismissed with Escape", () =>
  visit("dialog-escape", async (page) => {
    await page.getByRole("button", { name: "Open the book" }).click();
    await page.getByRole("dialog").getByLabel("Your name").waitFor();
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "hidden" });
    await shows(page, "The page ran 2 times");
  }));

test("a fragment runs without its page or its neighbour", () =>
  visit("fragments", async (page) => {
    await shows(page, "Left ran 1 times");
    for (const times of [2, 3]) {
      await page.getByRole("button", { name: "Run Left" }).click();
      await shows(page, `Left ran ${times} times`);
    }
    await page.getByRole("button", { name: "Run Right" }).click();
    await shows(page, "Right ran 2 times");
    await shows(page, "Left ran 3 times");
    await shows(page, "The page ran 1 times");
  }));

test("the camera takes a photo", () =>
  visit("camera", async (page) => {
    // Pressed before the camera has delivered its first picture, the button does nothing, as in plain Streamlit.
    const video = page.locator("video");
    await eventually("the camera delivers pictures", () =>
      video.evaluate((element) => element.readyState >= element.HAVE_CURRENT_DATA && element.videoWidth > 0),
    );
    await page.getByRole("button", { name: "Take photo" }).click();
    await shows(page, /A photo of type image\/\w+, JPEG or PNG: True/);
    const photo = page.getByTestId("stImage").locator("img");
    await photo.scrollIntoViewIfNeeded();
    await eventually("the photo comes back", () => photo.evaluate((element) => element.naturalWidth > 0));
  }));
