// Opens pages in a real Chromium, and holds every page to the same manners: no error on its console, no exception, and
// no request to its own server that fails.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { chromium } from "playwright-core";

import { ROOT } from "./server.js";

const SCREENSHOTS = `${ROOT}/target/browser`;
const WAIT_LIMIT_MS = 15_000;

const FLAGS = [
  "--no-sandbox", // the tests may run as root
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  // Nothing that the browser itself would like to fetch.
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  // A camera that shows a test picture, and nobody to ask whether it may be used.
  "--use-fake-device-for-media-stream",
  "--use-fake-ui-for-media-stream",
];

/** Starts the browser. `CHROMIUM` names another one than Debian's. */
export function launchBrowser() {
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
}

/**
 * Opens `url` in a profile of its own, lets `visit` look at it, and checks its manners.
 *
 * `tolerated` lists patterns for complaints that the visit provokes on purpose; `profile` says what is special about the
 * browser, as Playwright's options for a context do.
 */
export async function visiting(browser, url, name, visit, { tolerated = [], profile = {} } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, acceptDownloads: true, ...profile });
  context.setDefaultTimeout(WAIT_LIMIT_MS);
  // Streamlit's page asks a few hosts of its own for this and that; whether they answer is not what is tested.
  await context.route(
    (address) => address.origin !== new URL(url).origin && address.protocol.startsWith("http"),
    (route) => route.fulfill({ status: 204 }),
  );
  const page = await context.newPage();
  const complaints = listenForComplaints(page, new URL(url).origin);
  try {
    await page.goto(url);
    await visit(page);
    await screenshot(page, name);
  } catch (error) {
    await capture(page, `${name}-failed`).catch(() => {});
    if (complaints.length > 0) error.message += `\nThe page complained:\n  ${complaints.join("\n  ")}`;
    throw error;
  } finally {
    await context.close();
  }
  assert.deepEqual(
    complaints.filter((complaint) => !tolerated.some((pattern) => pattern.test(complaint))),
    [],
  );
}

function listenForComplaints(page, origin) {
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(`exception: ${error.message}`));
  page.on("console", (message) => {
    if (message.type() === "error") complaints.push(`console: ${message.text()} (${message.location().url})`);
  });
  page.on("response", (response) => {
    if (response.status() >= 400) complaints.push(`${response.status()} ${response.request().method()} ${response.url()}`);
  });
  page.on("requestfailed", (request) => {
    // A page that is left or closed aborts what it was still loading.
    const reason = request.failure()?.errorText ?? "no reason";
    if (request.url().startsWith(origin) && reason !== "net::ERR_ABORTED") {
      complaints.push(`${reason} ${request.method()} ${request.url()}`);
    }
  });
  return complaints;
}

/** Keeps a picture of the page for a person to look at, as soon as no part of it is a placeholder. */
export async function screenshot(page, name) {
  await page.waitForFunction(() => !document.querySelector('[data-testid="stSkeleton"]'));
  await capture(page, name);
}

async function capture(page, name) {
  mkdirSync(SCREENSHOTS, { recursive: true });
  await page.screenshot({ path: `${SCREENSHOTS}/${name}.png`, animations: "disabled" });
}
