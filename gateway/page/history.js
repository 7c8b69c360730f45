// What the plots show: one sample per second of the last five minutes, by the gateway's clock.

export const SPAN_MS = 300_000;
/** Lines are broken where samples are further apart than this. */
export const GAP_MS = 3_500;

export class History {
  samples = [];

  /** Adds a sample `{ time, per_second, p50_ms, p95_ms, p99_ms }`. Those that are there already are not added again. */
  add(sample) {
    if (!Number.isFinite(sample?.time)) return;
    const last = this.samples.at(-1)?.time ?? -Infinity;
    // Another gateway, with another clock: what was before can't be put beside what comes now.
    if (sample.time < last - SPAN_MS / 10) this.samples = [];
    else if (sample.time <= last) return;
    this.samples.push(sample);
    const oldest = sample.time - SPAN_MS;
    while (this.samples[0].time < oldest) this.samples.shift();
  }

  addAll(samples) {
    // Not more than fits: the rest would be thrown away one by one.
    for (const sample of (samples ?? []).slice(-600)) {
      if (sample?.time > (this.samples.at(-1)?.time ?? -Infinity)) this.add(sample);
    }
  }
}
