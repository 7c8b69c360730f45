// How long a page takes to load in a real Chromium with an empty cache, and what that takes over the network.
//
//   node page_load.js TURNS BYTES_PER_SECOND LATENCY_MS URL…
//
// The pages take turns. Prints one JSON line for each load: the page's place in the list, milliseconds until the app's text is
// there, bytes as they come over the network, and requests. Of these the last turn has all; the others don't wait for what
// comes after the text. A speed of 0 is the machine's own.

import { setTimeout as sleep } from "node:timers/promises";

import { launchBrowser } from "../lib/browser.js";

const LIMIT_MS = 60_000;
/** No request has begun or ended for so long: all is there. */
const QUIET_MS = 1_000;

async function load(browser, url, speed, latency, toTheEnd) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  try {
    const origin = new URL(url).origin;
    const elsewhere = (address) => address.origin !== origin && address.protocol.startsWith("http");
    await context.route(elsewhere, (route) => route.fulfill({ status: 204 }));
    const page = await context.newPage();
    const devtools = await context.newCDPSession(page);
    let bytes = 0;
    let requests = 0;
    let latest = performance.now();
    devtools.on("Network.requestWillBeSent", (event) => {
      if (!event.request.url.startsWith(origin)) return;
      requests += 1;
      latest = performance.now();
    });
    devtools.on("Network.loadingFinished", (event) => {
      bytes += event.encodedDataLength;
      latest = performance.now();
    });
    devtools.on("Network.webSocketFrameReceived", (event) => {
      // Binary frames are shown in base64.
      bytes += Math.round((event.response.payloadData.length * 3) / 4);
    });
    await devtools.send("Network.enable");
    if (speed > 0) {
      const conditions = { offline: false, latency, downloadThroughput: speed, uploadThroughput: speed };
      await devtools.send("Network.emulateNetworkConditions", conditions);
    }
    const began = performance.now();
    await page.goto(url, { waitUntil: "commit", timeout: LIMIT_MS });
    await page.getByText("count=0;").waitFor({ timeout: LIMIT_MS });
    const ms = performance.now() - began;
    while (toTheEnd && performance.now() - latest < QUIET_MS) {
      if (performance.now() - began > LIMIT_MS) throw new Error(`${url} is still loading after ${LIMIT_MS} ms`);
      await sleep(QUIET_MS / 4);
    }
    return { ms, bytes, requests };
  } finally {
    await context.close();
  }
}

const [turns, speed, latency] = process.argv.slice(2, 5).map(Number);
const urls = process.argv.slice(5);
const browser = await launchBrowser();
try {
  for (let turn = 0; turn < turns; turn += 1) {
    for (const [place, url] of urls.entries()) {
      const figures = await load(browser, url, speed, latency, turn === turns - 1);
      console.log(JSON.stringify({ place, ...figures }));
    }
  }
} finally {
  await browser.close();
}
