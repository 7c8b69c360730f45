// The few things that all views do with elements. Nothing here, or anywhere on this page, makes elements from text:
// what the gateway sends is only ever set as text.

export const byId = (id) => document.getElementById(id);

/** A copy of a template's one element, and its parts by their data-field. */
export function clone(template) {
  const element = byId(template).content.firstElementChild.cloneNode(true);
  return { element, fields: fieldsOf(element) };
}

export function fieldsOf(root) {
  const fields = {};
  for (const part of root.querySelectorAll("[data-field]")) fields[part.dataset.field] ??= part;
  return fields;
}

// What stays the same isn't written again, so that selections, and screen readers' places, stay where they are.
export function setText(element, text) {
  if (element.textContent !== String(text)) element.textContent = text;
}

export function setAttribute(element, name, value) {
  if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

/** A word with its colour. Tones: ok, info, warn, bad, idle. */
export function setStatus(element, { tone, label }) {
  setText(element, label);
  if (element.dataset.tone !== tone) element.dataset.tone = tone;
}

/** The status for a word of the gateway's; one that this page doesn't know is shown as it is. */
export const statusFor = (known, word) =>
  Object.hasOwn(known, word) ? known[word] : { tone: "idle", label: String(word ?? "–") };

/** Such a button can't be pressed but keeps the focus, which a disabled one would lose. */
export function setEnabled(button, enabled) {
  if (enabled) button.removeAttribute("aria-disabled");
  else setAttribute(button, "aria-disabled", "true");
}

export const isEnabled = (button) => button.getAttribute("aria-disabled") !== "true";

/**
 * Makes `wanted` the children of `parent`, moving as few as that takes. The focus stays where it is; if its element is
 * gone, it goes to `fallback`.
 */
export function arrange(parent, wanted, fallback) {
  const focused = parent.contains(document.activeElement) ? document.activeElement : null;
  const stays = new Set(wanted);
  for (const child of [...parent.children]) if (!stays.has(child)) child.remove();
  let next = parent.firstElementChild;
  for (const child of wanted) {
    if (child === next) next = next.nextElementSibling;
    else parent.insertBefore(child, next);
  }
  if (focused === null || focused === document.activeElement) return;
  (focused.isConnected ? focused : fallback)?.focus({ preventScroll: true });
}

/** Says something to whoever can't see it. */
export function announce(text) {
  byId("announcer").textContent = text;
}

let toastTimer;

/** Says something to everybody, for some seconds. */
export function toast(text) {
  const element = byId("toast");
  element.textContent = text;
  element.hidden = false;
  announce(text);
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => (element.hidden = true), 6_000);
}
