// Where the admin token is: in this tab's storage, or in the fragment of the address, from where it is taken at once.

const KEY = "streamfleet.token";

// Also when the browser forbids storage the page works; the token is then asked for again after a reload.
let kept = null;

/** The token that the address brings along, if it does. It doesn't stay in the address, nor in the tab's history. */
export function takeFromAddress() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  if (!fragment.has("token")) return null;
  history.replaceState(null, "", location.pathname + location.search);
  return fragment.get("token").trim() || null;
}

export function stored() {
  try {
    return sessionStorage.getItem(KEY) ?? kept;
  } catch {
    return kept;
  }
}

export function keep(token) {
  kept = token;
  try {
    sessionStorage.setItem(KEY, token);
  } catch {
    // Kept in memory above.
  }
}

export function forget() {
  kept = null;
  try {
    sessionStorage.removeItem(KEY);
  } catch {
    // There was none.
  }
}
