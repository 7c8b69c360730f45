// A made-up cluster of any size, the same each time: the numbers come from a generator that starts from a seed.

const MIB = 1024 * 1024;
const PAGES = ["/", "/orders", "/products", "/reports/weekly", "/settings"];

function numbersFrom(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The data of a `cluster` event. `age` moves everything on by some seconds. */
export function makeCluster({ runners = 3, sessions = 40, time = Date.now(), age = 0, ...changes } = {}) {
  const list = Array.from({ length: sessions }, (_, n) => makeSession(n, runners, age));
  return {
    time,
    version: "0.1.0",
    cluster: "production",
    revision: "4f2a9c1e",
    traces_url: "http://traces.example/search?session={session}",
    gateway: {
      id: "gateway-a1-7c2f",
      websockets: sessions,
      received_bytes_per_second: 412 * sessions,
      sent_bytes_per_second: 9_120 * sessions,
    },
    clicks: clicksAt(time),
    runners: Array.from({ length: runners }, (_, n) => makeRunner(n, list)),
    sessions: list.slice(0, 1_000),
    sessions_total: sessions,
    ...changes,
  };
}

export function makeRunner(n, sessions = []) {
  const random = numbersFrom(n + 7);
  const own = sessions.filter((session) => session.runner === `runner-${n}`);
  const running = own.filter((session) => session.running).length;
  const workers = Array.from({ length: 4 }, (_, index) => {
    const its = own.filter((session) => session.worker === index);
    return {
      index,
      state: n % 9 === 4 && index === 3 ? "leaving" : "ready",
      sessions: its.length,
      running: its.filter((session) => session.running).length,
      memory_bytes: Math.round((180 + random() * 400) * MIB),
      lag_ms: random() * 9,
      restarts: random() < 0.1 ? 1 : 0,
    };
  });
  return {
    id: `runner-${n}`,
    address: `10.0.${3 + (n >> 6)}.${17 + (n % 64)}:8601`,
    phase: n % 9 === 4 ? "draining" : n % 13 === 6 ? "starting" : "ready",
    revision: n % 9 === 4 ? "b81d07aa" : "4f2a9c1e",
    sessions: own.length,
    running,
    queue_wait_ms: random() * 14,
    cpu: n % 13 === 6 ? null : random() * 0.85,
    memory_bytes: workers.reduce((sum, worker) => sum + worker.memory_bytes, 120 * MIB),
    reachable: n % 17 !== 8,
    workers,
    cache: {
      worker_hits: Math.round(random() * 9_000),
      node_hits: Math.round(random() * 2_500),
      cluster_hits: Math.round(random() * 700),
      misses: Math.round(random() * 900),
      computations: Math.round(random() * 850),
    },
  };
}

export function makeSession(n, runners, age = 0) {
  const random = numbersFrom(n * 31 + 1);
  const digits = [random(), random()].map((part) => Math.floor(part * 2 ** 24).toString(16).padStart(6, "0")).join("");
  const state = random() < 0.82 ? "connected" : random() < 0.5 ? "hibernated" : "disconnected";
  return {
    id: digits,
    runner: `runner-${n % Math.max(1, runners)}`,
    worker: state === "hibernated" ? null : Math.floor(random() * 4),
    state,
    running: state === "connected" && (n + Math.floor(age)) % 11 === 0,
    page: PAGES[Math.floor(random() * PAGES.length)],
    age_seconds: Math.floor(20 + random() * 9_000) + age,
    runs: Math.floor(random() * 400) + Math.floor(age / 11),
    last_run_ms: random() < 0.05 ? null : 8 + random() ** 3 * 900,
    unsaved: random() < 0.06 ? ["connection", "lock"] : [],
  };
}

function clicksAt(time) {
  const random = numbersFrom(Math.floor(time / 1_000));
  const wave = 1 + 0.3 * Math.sin(time / 40_000);
  const p50 = 17 * wave + random() * 5;
  const p95 = p50 * (1.9 + random() * 0.6);
  return { per_second: 42 * wave + random() * 9, p50_ms: p50, p95_ms: p95, p99_ms: p95 * (1.2 + random() * 0.5) };
}

/** The data of a `history` event that ends at `time`. */
export function makeHistory(time) {
  return {
    clicks: Array.from({ length: 300 }, (_, n) => {
      const then = time - (300 - n) * 1_000;
      return { time: then, ...clicksAt(then) };
    }),
  };
}
