// One plot of the last five minutes, as lines in an SVG. Its elements are made once; each second they get new numbers.
// Pointer or arrow keys choose a moment, whose values then stand in the legend instead of the latest.

import { fieldsOf, setAttribute, setText } from "./dom.js";
import { clock, isNumber } from "./format.js";
import { GAP_MS, SPAN_MS } from "./history.js";

const HEIGHT = 168;
const EDGE = { top: 8, right: 16, bottom: 20, left: 52 };
const LINES = 5;
const MINUTES = SPAN_MS / 60_000;

export class Plot {
  #figure;
  #canvas;
  #svg;
  #at;
  #series;
  #format;
  #tick;
  #samples = [];
  #marks = [];
  #cursor = null;
  #width = 0;

  /**
   * `series` are `{ name, value(sample), area }`, named as in the figure's legend; `format` makes text of values, `tick`
   * of those at the axis.
   */
  constructor(figure, { series, format, tick = format }) {
    this.#figure = figure;
    this.#canvas = figure.querySelector(".canvas");
    this.#at = fieldsOf(figure).at;
    this.#format = format;
    this.#tick = tick;
    this.#svg = this.#build(series);
    this.#series = series.map((one) => ({ ...one, legend: figure.querySelector(`[data-series="${one.name}"] b`) }));
    this.#listen();
    new ResizeObserver(([entry]) => {
      this.#width = Math.floor(entry.contentRect.width);
      this.#redraw();
    }).observe(this.#canvas);
  }

  /** Shows these samples, and marks `{ time, tone }` at the moments when something happened. */
  draw(samples, marks) {
    this.#samples = samples;
    this.#marks = marks;
    this.#redraw();
  }

  #build(series) {
    const root = this.#canvas.querySelector("svg");
    setAttribute(root, "height", HEIGHT);
    const add = (name, kind, parent = root) => {
      const element = document.createElementNS("http://www.w3.org/2000/svg", name);
      element.setAttribute("class", kind);
      return parent.appendChild(element);
    };
    const range = (n) => Array.from({ length: n }, (_, i) => i);
    return {
      root,
      grid: range(LINES).map(() => ({ line: add("path", "grid"), label: add("text", "label value") })),
      minutes: range(MINUTES + 1).map((minute) => {
        const label = add("text", "label minute");
        label.textContent = minute === 0 ? "now" : `${minute} min`;
        return label;
      }),
      marks: Object.fromEntries(["info", "warn", "bad", "ok"].map((tone) => [tone, add("path", `mark ${tone}`)])),
      areas: series.map(({ name, area }) => (area ? add("path", `area ${name}`) : null)),
      lines: series.map(({ name }) => add("path", `series ${name}`)),
      cursor: add("path", "cursor"),
    };
  }

  get #now() {
    return this.#samples.at(-1)?.time ?? 0;
  }

  #x = (time) => {
    const right = this.#width - EDGE.right;
    return round(right - ((this.#now - time) / SPAN_MS) * (right - EDGE.left));
  };

  #redraw() {
    if (this.#width === 0) return;
    setAttribute(this.#svg.root, "width", this.#width);
    if (this.#cursor !== null && this.#cursor < this.#now - SPAN_MS) this.#cursor = null;
    const scale = scaleFor(this.#highest());
    const y = (value) => round(HEIGHT - EDGE.bottom - (value / scale.top) * (HEIGHT - EDGE.top - EDGE.bottom));
    this.#drawGrid(scale, y);
    this.#drawMarks();
    this.#series.forEach(({ value }, i) => {
      const strokes = this.#strokes(value, y);
      setAttribute(this.#svg.lines[i], "d", strokes.map(lineThrough).join(""));
      if (this.#svg.areas[i]) setAttribute(this.#svg.areas[i], "d", strokes.map((stroke) => areaUnder(stroke, y(0))).join(""));
    });
    this.#drawCursor();
  }

  #highest() {
    let highest = 0;
    for (const sample of this.#samples) {
      for (const { value } of this.#series) if (isNumber(value(sample))) highest = Math.max(highest, value(sample));
    }
    return highest;
  }

  #drawGrid({ step, top }, y) {
    this.#svg.grid.forEach(({ line, label }, i) => {
      const value = i * step;
      const shown = value <= top * 1.0001;
      line.style.display = label.style.display = shown ? "" : "none";
      if (!shown) return;
      setAttribute(line, "d", `M${EDGE.left} ${y(value)}H${this.#width - EDGE.right}`);
      setAttribute(label, "x", EDGE.left - 8);
      setAttribute(label, "y", y(value) + 4);
      setText(label, this.#tick(value));
    });
    this.#svg.minutes.forEach((label, minute) => {
      setAttribute(label, "x", this.#x(this.#now - minute * 60_000));
      setAttribute(label, "y", HEIGHT - 4);
    });
  }

  #drawMarks() {
    for (const [tone, path] of Object.entries(this.#svg.marks)) {
      const places = new Set();
      for (const { time, tone: its } of this.#marks) {
        if (its === tone && time <= this.#now && time >= this.#now - SPAN_MS) places.add(Math.round(this.#x(time)));
      }
      setAttribute(path, "d", [...places].map((x) => `M${x} ${EDGE.top}V${HEIGHT - EDGE.bottom}`).join(""));
    }
  }

  /** The points of a series, as one list for each stretch without a gap. */
  #strokes(value, y) {
    const strokes = [];
    let previous = -Infinity;
    for (const sample of this.#samples) {
      const number = value(sample);
      if (!isNumber(number)) continue;
      if (sample.time - previous > GAP_MS) strokes.push([]);
      strokes.at(-1).push([this.#x(sample.time), y(number)]);
      previous = sample.time;
    }
    return strokes;
  }

  // --- The chosen moment ---------------------------------------------------------------------------------------------

  #listen() {
    this.#canvas.addEventListener("pointermove", (event) => {
      const left = this.#canvas.getBoundingClientRect().left;
      const share = (this.#width - EDGE.right - (event.clientX - left)) / (this.#width - EDGE.left - EDGE.right);
      this.#choose(this.#now - share * SPAN_MS);
    });
    this.#canvas.addEventListener("pointerleave", () => this.#choose(null));
    this.#canvas.addEventListener("focus", () => this.#describe());
    this.#canvas.addEventListener("blur", () => this.#choose(null));
    this.#canvas.addEventListener("keydown", (event) => {
      const from = this.#cursor ?? this.#now;
      const target = {
        ArrowLeft: from - 1_000,
        ArrowDown: from - 1_000,
        ArrowRight: from + 1_000,
        ArrowUp: from + 1_000,
        PageDown: from - 30_000,
        PageUp: from + 30_000,
        Home: this.#now - SPAN_MS,
        End: null,
        Escape: null,
      }[event.key];
      if (target === undefined) return;
      event.preventDefault();
      this.#choose(target);
      this.#describe();
    });
  }

  #choose(time) {
    this.#cursor = time === null ? null : (nearest(this.#samples, time)?.time ?? null);
    this.#drawCursor();
  }

  #drawCursor() {
    const chosen = this.#cursor !== null;
    const sample = chosen ? nearest(this.#samples, this.#cursor) : this.#samples.at(-1);
    setAttribute(this.#svg.cursor, "d", chosen ? `M${this.#x(sample.time)} ${EDGE.top}V${HEIGHT - EDGE.bottom}` : "");
    setText(this.#at, chosen ? clock(sample.time) : "");
    for (const { legend, value } of this.#series) setText(legend, this.#format(sample && value(sample)));
  }

  /** Only when somebody asks by focus or key: a screen reader would otherwise speak every second. */
  #describe() {
    const sample = nearest(this.#samples, this.#cursor ?? this.#now);
    const values = this.#series.map(({ name, value }) => `${name} ${this.#format(sample && value(sample))}`);
    setAttribute(this.#canvas, "aria-valuenow", Math.round(((sample?.time ?? this.#now) - this.#now) / 1_000));
    setAttribute(this.#canvas, "aria-valuetext", sample ? `${clock(sample.time)}: ${values.join(", ")}` : "nothing yet");
  }
}

const round = (number) => Math.round(number * 10) / 10;

// Where clicks are rare, most points stand alone: a point without neighbours is a dot.
const lineThrough = (points) =>
  points.length > 1
    ? `M${points.map((point) => point.join(" ")).join("L")}`
    : `M${points[0].join(" ")}m-1 0a1 1 0 1 0 2 0a1 1 0 1 0-2 0`;

const areaUnder = (points, bottom) =>
  `M${points[0][0]} ${bottom}L${points.map((point) => point.join(" ")).join("L")}L${points.at(-1)[0]} ${bottom}Z`;

/** A step of 1, 2 or 5 times a power of ten, so that at most four of them reach the highest value. */
function scaleFor(highest) {
  const least = Math.max(highest, 1) / (LINES - 1);
  const power = 10 ** Math.floor(Math.log10(least));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= least * 0.9999);
  return { step, top: step * Math.max(1, Math.ceil(highest / step - 0.0001)) };
}

function nearest(samples, time) {
  let best;
  for (const sample of samples) {
    if (best === undefined || Math.abs(sample.time - time) < Math.abs(best.time - time)) best = sample;
  }
  return best;
}
