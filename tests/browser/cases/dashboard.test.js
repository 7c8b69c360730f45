// Several pages: navigation, the address bar, the back button, and a filter that the pages share.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { launchBrowser, screenshot, visiting } from "../lib/browser.js";
import { settled, shows } from "../lib/expect.js";
import { startServer } from "../lib/server.js";

let browser, server;
before(async () => {
  [browser, server] = await Promise.all([launchBrowser(), startServer("examples/dashboard/app.py")]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

// Opened at a page's own address, the page first looks for its server below that address; this is how Streamlit finds
// the base path.
const tolerated = [/\/(orders|nowhere)\/_stcore\/(health|host-config)/, /page that you have requested does not seem to exist/];
const visit = (name, steps, path = "/") =>
  visiting(browser, server.url + path, `dashboard-${name}`, steps, path === "/" ? {} : { tolerated });
const title = (page, name) => page.getByRole("heading", { level: 1, name }).waitFor();

test("links lead to pages, and the back button leads back", () =>
  visit("navigation", async (page) => {
    await title(page, "Overview");
    await page.getByTestId("stVegaLiteChart").locator("canvas, svg").first().waitFor();
    await settled(page);
    await screenshot(page, "dashboard-overview");

    await page.getByRole("link", { name: "Products" }).click();
    await title(page, "Products");
    await page.getByTestId("stVegaLiteChart").nth(1).locator("canvas, svg").first().waitFor();
    assert.equal(new URL(page.url()).pathname, "/products");
    await settled(page);
    await screenshot(page, "dashboard-products");

    await page.getByRole("link", { name: "Orders" }).click();
    await title(page, "Orders");
    await page.getByTestId("stDataFrame").locator("canvas").first().waitFor();
    assert.equal(new URL(page.url()).pathname, "/orders");

    await page.goBack();
    await title(page, "Products");
    await page.goBack();
    await title(page, "Overview");
    await page.goForward();
    await title(page, "Products");
  }));

test("a page can be opened by its address", () =>
  visit("deep-link", (page) => title(page, "Orders"), "/orders"));

test("an address that names no page says so", () =>
  visit("no-such-page", (page) => shows(page, "Page not found"), "/nowhere"));

test("a filter keeps its value from page to page", () =>
  visit("filter", async (page) => {
    await shows(page, "The last 90 days");
    const days = page.getByRole("slider", { name: "Days" });
    await days.press("ArrowRight");
    await shows(page, "The last 91 days");
    await page.getByRole("link", { name: "Orders" }).click();
    await title(page, "Orders");
    await page.getByRole("link", { name: "Overview" }).click();
    await shows(page, "The last 91 days");
  }));
