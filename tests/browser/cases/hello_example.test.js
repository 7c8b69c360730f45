// The tour of examples/hello, as its first user would take it.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";

import { launchBrowser, screenshot, visiting } from "../lib/browser.js";
import { eventually, settled, shows } from "../lib/expect.js";
import { startServer } from "../lib/server.js";

let browser, server;
before(async () => {
  [browser, server] = await Promise.all([launchBrowser(), startServer("examples/hello/app.py")]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

const visit = (name, steps, options) => visiting(browser, server.url, `hello-${name}`, steps, options);
const openTab = (page, name) => page.getByRole("tab", { name }).click();

test("clicks are counted, one by one", () =>
  visit("state", async (page) => {
    for (let count = 1; count <= 5; count += 1) {
      await page.getByRole("button", { name: "Add one" }).click();
      await shows(page, `The count is ${count}`);
    }
    await page.getByRole("button", { name: "Take one" }).click();
    await shows(page, "The count is 4");
  }));

test("a text input is read when Enter is pressed", () =>
  visit("text", async (page) => {
    const input = page.getByLabel("What is your name?");
    await input.fill("Ada");
    await input.press("Enter");
    await shows(page, "Hello, Ada!");
  }));

test("a form is sent as a whole", () =>
  visit("form", async (page) => {
    await page.getByRole("combobox", { name: "From" }).click();
    await page.getByRole("option", { name: "Lisbon" }).click();
    await page.getByRole("slider", { name: "Crew" }).press("ArrowRight");
    assert.equal(await page.getByText("sailors leave").count(), 0, "the form was sent before its button was pressed");
    await page.getByRole("button", { name: "Set sail" }).click();
    await shows(page, "5 sailors leave Lisbon.");
  }));

test("a chart is drawn and an image loads", () =>
  visit("charts", async (page) => {
    await openTab(page, "Charts");
    await page.getByTestId("stVegaLiteChart").locator("canvas, svg").first().waitFor();
    const image = page.getByTestId("stImage").locator("img");
    await image.scrollIntoViewIfNeeded();
    await eventually("the image has pixels", () => image.evaluate((element) => element.naturalWidth === 640));
  }));

test("a file goes up, and its size is shown", () =>
  visit("upload", async (page) => {
    await openTab(page, "Files");
    const files = { name: "log.txt", mimeType: "text/plain", buffer: Buffer.alloc(123_456, "x") };
    await page.getByTestId("stFileUploaderDropzoneInput").setInputFiles(files);
    await shows(page, "log.txt has 123,456 bytes.");
  }));

test("a download has the right bytes", () =>
  visit("download", async (page) => {
    await openTab(page, "Files");
    const arriving = page.waitForEvent("download");
    await page.getByRole("button", { name: "Download the waves" }).click();
    const download = await arriving;
    assert.equal(download.suggestedFilename(), "waves.csv");
    const lines = (await readFile(await download.path(), "utf8")).split("\n");
    assert.equal(lines.length, 122, "a heading, 120 rows, and the end of the last one");
    assert.deepEqual(lines.slice(0, 3), ["minute,metres", "0,0.000", "1,0.222"]);
  }));

test("a chat answer arrives word by word", () =>
  visit("chat", async (page) => {
    await openTab(page, "Chat");
    const words = Array.from({ length: 30 }, (_, index) => `w${index}`).join(" ");
    await page.getByTestId("stChatInputTextArea").fill(words);
    await page.getByTestId("stChatInputTextArea").press("Enter");
    const answer = page.getByTestId("stChatMessage").nth(1);
    const seen = new Set();
    await eventually("the whole answer", async () => {
      const text = (await answer.count()) === 1 ? await answer.innerText() : "";
      seen.add(text);
      return text.includes(`You said: ${words}`);
    });
    assert.ok(seen.size > 5, `the answer was seen in ${seen.size} states only, so it did not stream`);
  }));

test("a fragment ticks by itself", () =>
  visit("clock", async (page) => {
    const clock = page.getByTestId("stMetric").filter({ hasText: "Server time" }).getByTestId("stMetricValue");
    const times = new Set();
    await eventually("three ticks", async () => times.add(await clock.innerText()).size > 3);
  }));

test("a reload begins a fresh session", () => {
  const steps = async (page) => {
    await page.getByRole("button", { name: "Add one" }).click();
    await shows(page, "The count is 1");
    await page.reload();
    await shows(page, "The count is 0");
    await settled(page);
    await screenshot(page, "hello-first-view");
  };
  // The reload may cut off what the page is just fetching, and the page notes that.
  return visit("reload", steps, { tolerated: [/fetch error - Failed to fetch/] });
});

test("two tabs are two sessions", () =>
  visit("two-tabs", async (page) => {
    const other = await page.context().newPage();
    await other.goto(server.url);
    await page.getByRole("button", { name: "Add one" }).click();
    await shows(page, "The count is 1");
    await shows(other, "The count is 0");
  }));
