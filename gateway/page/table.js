// A table that lives: filtered, sorted, in pages, and updated in place once a second. While somebody points at its rows,
// or has the focus in them, no row moves or goes, so that a button is not gone when it is pressed; the numbers go on.

import { announce, arrange, fieldsOf, setAttribute, setText } from "./dom.js";
import { count, plural } from "./format.js";

const HELD_MS = 5_000;
const ANNOUNCE_AFTER_MS = 600;
const inOrder = new Intl.Collator("en", { numeric: true }).compare;

export class LiveTable {
  #section;
  #fields;
  #body;
  #options;
  #items = [];
  #rows = new Map();
  #shown = [];
  #sort;
  #page = 0;
  #matching = 0;
  #heldUntil = 0;
  #announcing;

  /**
   * `options`:
   * - `noun`: what a row is
   * - `key(item)`: what tells items apart
   * - `makeRow()`: a row `{ elements, update(item), gone(isGone) }`
   * - `columns`: for each data-sort what to sort by
   * - `sort`: `{ column, descending }` at first
   * - `pageSize`
   * - `matches(item, words, kind)`: whether the filter lets it through
   * - `none`: what to say when there are no items at all
   * - `note(items)`: what to say beside their number
   */
  constructor(section, options) {
    this.#section = section;
    this.#fields = fieldsOf(section);
    this.#body = section.querySelector("tbody");
    this.#options = options;
    this.#sort = options.sort;
    this.#listenToFilters();
    this.#listenToPager();
    this.#listenToHeadings();
    this.#listenToRows();
  }

  set(items) {
    this.#items = items;
    this.render();
  }

  /** Sets the filter as if it had been typed, and goes there. */
  filter(text) {
    this.#fields.filter.value = text;
    if (this.#fields.kind) this.#fields.kind.value = "";
    this.#changed({ page: 0 });
    this.#section.scrollIntoView({ block: "start" });
    this.#fields.filter.focus({ preventScroll: true });
  }

  render() {
    const items = new Map(this.#items.map((item) => [this.#options.key(item), item]));
    if (performance.now() >= this.#heldUntil) this.#shown = this.#choose();
    const elements = this.#shown.flatMap((key) => {
      const row = this.#row(key);
      const item = items.get(key);
      row.gone(item === undefined);
      if (item !== undefined) row.update(item);
      return row.elements;
    });
    arrange(this.#body, elements, this.#section.querySelector("h2"));
    this.#forgetRows(items);
    this.#renderAround();
  }

  /** The keys of the rows on this page. */
  #choose() {
    const { columns, key, matches, pageSize } = this.#options;
    const words = this.#fields.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const kind = this.#fields.kind?.value ?? "";
    const value = columns[this.#sort.column];
    const direction = this.#sort.descending ? -1 : 1;
    const found = this.#items
      .filter((item) => matches(item, words, kind))
      .map((item) => ({ key: key(item), value: value(item) }))
      .sort((a, b) => compare(a.value, b.value, direction) || inOrder(a.key, b.key));
    this.#matching = found.length;
    this.#page = Math.max(0, Math.min(this.#page, Math.ceil(found.length / pageSize) - 1));
    return found.slice(this.#page * pageSize, (this.#page + 1) * pageSize).map((item) => item.key);
  }

  #row(key) {
    if (!this.#rows.has(key)) this.#rows.set(key, this.#options.makeRow());
    return this.#rows.get(key);
  }

  // A row that went to another page is kept: it may be open. One whose item is gone is not.
  #forgetRows(items) {
    const shown = new Set(this.#shown);
    for (const key of this.#rows.keys()) if (!items.has(key) && !shown.has(key)) this.#rows.delete(key);
  }

  #renderAround() {
    const { noun, none, note, pageSize } = this.#options;
    setText(this.#fields.count, this.#items.length === 0 ? "" : note(this.#items));
    this.#fields.empty.hidden = this.#shown.length > 0;
    setText(this.#fields.empty, this.#items.length === 0 ? none : `No ${noun} matches.`);
    const pages = Math.ceil(this.#matching / pageSize);
    this.#section.querySelector(".pager").hidden = pages <= 1;
    const first = this.#page * pageSize + 1;
    const last = Math.min(this.#matching, first + pageSize - 1);
    setText(this.#fields.position, `${count(first)} to ${count(last)} of ${count(this.#matching)}`);
    this.#fields.previous.setAttribute("aria-disabled", this.#page === 0);
    this.#fields.next.setAttribute("aria-disabled", this.#page >= pages - 1);
    for (const heading of this.#section.querySelectorAll("th[data-sort]")) {
      const sorted = heading.dataset.sort === this.#sort.column;
      setAttribute(heading, "aria-sort", sorted ? (this.#sort.descending ? "descending" : "ascending") : "none");
    }
  }

  // --- What the user does --------------------------------------------------------------------------------------------

  #changed({ page = this.#page, sort = this.#sort }) {
    this.#page = page;
    this.#sort = sort;
    this.#heldUntil = 0;
    this.render();
  }

  #listenToFilters() {
    for (const field of [this.#fields.filter, this.#fields.kind]) {
      field?.addEventListener("input", () => {
        this.#changed({ page: 0 });
        clearTimeout(this.#announcing);
        this.#announcing = setTimeout(
          () => announce(`${plural(this.#options.noun, this.#matching)} found`),
          ANNOUNCE_AFTER_MS,
        );
      });
    }
  }

  #listenToPager() {
    const turn = (by) => (event) => {
      if (event.currentTarget.getAttribute("aria-disabled") === "true") return;
      this.#changed({ page: this.#page + by });
      announce(this.#fields.position.textContent);
    };
    this.#fields.previous.addEventListener("click", turn(-1));
    this.#fields.next.addEventListener("click", turn(1));
  }

  #listenToHeadings() {
    for (const heading of this.#section.querySelectorAll("th[data-sort]")) {
      heading.querySelector("button").addEventListener("click", () => {
        const column = heading.dataset.sort;
        const again = column === this.#sort.column;
        // Of numbers the highest are wanted first.
        const descending = again ? !this.#sort.descending : heading.classList.contains("number");
        this.#changed({ page: 0, sort: { column, descending } });
      });
    }
  }

  #listenToRows() {
    const hold = () => (this.#heldUntil = performance.now() + HELD_MS);
    for (const event of ["pointermove", "pointerdown", "keydown", "focusin"]) this.#body.addEventListener(event, hold);
    this.#body.addEventListener("pointerleave", () => (this.#heldUntil = 0));
  }
}

// What has no value comes last, whichever way round.
function compare(a, b, direction) {
  const missing = (value) => value === null || value === undefined || Number.isNaN(value);
  if (missing(a) || missing(b)) return Number(missing(a)) - Number(missing(b));
  return direction * (typeof a === "number" && typeof b === "number" ? a - b : inOrder(String(a), String(b)));
}
