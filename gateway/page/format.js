// Numbers and times as text. What is missing, or isn't a number, is a dash.

const NONE = "–";
const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en-US", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const hundredths = new Intl.NumberFormat("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 });

export const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

export const count = (value) => (isNumber(value) ? whole.format(value) : NONE);

/** `plural("session", 2)` is "2 sessions". */
export const plural = (noun, value) => `${count(value)} ${noun}${value === 1 ? "" : "s"}`;

export function rate(value) {
  if (!isNumber(value)) return NONE;
  return value > 0 && value < 100 ? tenths.format(value) : whole.format(value);
}

export function milliseconds(value) {
  if (!isNumber(value)) return NONE;
  if (value === 0) return "0 ms";
  if (value < 10) return `${tenths.format(value)} ms`;
  if (value < 1_000) return `${whole.format(value)} ms`;
  if (value < 10_000) return `${hundredths.format(value / 1_000)} s`;
  if (value < 60_000) return `${tenths.format(value / 1_000)} s`;
  return duration(value / 1_000);
}

export function bytes(value) {
  if (!isNumber(value)) return NONE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1_000 && unit < units.length - 1) {
    value /= 1_024;
    unit += 1;
  }
  return `${unit > 0 && value < 10 ? tenths.format(value) : whole.format(value)} ${units[unit]}`;
}

export const bytesPerSecond = (value) => (isNumber(value) ? `${bytes(value)}/s` : NONE);

export const percent = (share) => (isNumber(share) ? `${whole.format(share * 100)} %` : NONE);

/** Seconds, in their two largest units. */
export function duration(seconds) {
  if (!isNumber(seconds)) return NONE;
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3_600) return `${Math.floor(s / 60)} min`;
  if (s < 86_400) return `${Math.floor(s / 3_600)} h ${String(Math.floor((s % 3_600) / 60)).padStart(2, "0")}`;
  return `${whole.format(Math.floor(s / 86_400))} d ${Math.floor((s % 86_400) / 3_600)} h`;
}

/** A moment (epoch milliseconds) as this browser's time of day. */
export function clock(time) {
  const date = new Date(isNumber(time) ? time : NaN);
  if (Number.isNaN(date.getTime())) return NONE;
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map((part) => String(part).padStart(2, "0")).join(":");
}
