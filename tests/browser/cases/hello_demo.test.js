// `streamfleet hello`: the demo that comes with the Streamlit package.

import { after, before, test } from "node:test";

import { launchBrowser, screenshot, visiting } from "../lib/browser.js";
import { settled } from "../lib/expect.js";
import { startServer } from "../lib/server.js";

let browser, server;
before(async () => {
  [browser, server] = await Promise.all([launchBrowser(), startServer("hello")]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

test("it opens, and its pages can be visited", () =>
  visiting(browser, server.url, "demo", async (page) => {
    await page.getByText("Welcome to Streamlit!").waitFor();
    await settled(page);
    await screenshot(page, "demo-welcome");

    await page.getByTestId("stSidebarNav").getByRole("link", { name: "Animation demo" }).click();
    await page.getByRole("heading", { level: 1, name: "Animation demo" }).waitFor();
    await page.getByTestId("stImage").locator("img").first().waitFor();
    // Whoever leaves a running animation leaves pictures behind that are gone before they are fetched.
    await page.getByRole("button", { name: "Rerun" }).waitFor();
    await page.getByTestId("stSidebarNav").getByRole("link", { name: "Plotting demo" }).click();
    await page.getByRole("heading", { level: 1, name: "Plotting demo" }).waitFor();
    await page.getByTestId("stVegaLiteChart").locator("canvas, svg").first().waitFor();
  }));
