// What an operator can do: ask first, do it, and say what came of it.

import { byId, setText, toast } from "./dom.js";

const LIMIT_MS = 15_000;

/**
 * Asks with a title and a text; the button `go` does `action()`. If that fails the dialog stays open and says why.
 * `done` is said when it has succeeded.
 */
export function confirm({ title, text, go, done, action }) {
  const dialog = byId("confirm");
  const button = byId("confirm-go");
  const error = byId("confirm-error");
  setText(byId("confirm-title"), title);
  setText(byId("confirm-text"), text);
  setText(button, go);
  setText(error, "");
  button.disabled = false;
  button.onclick = async () => {
    button.disabled = true;
    setText(error, "");
    // Was it cancelled meanwhile, what comes of it is still said, and another question isn't answered by it.
    const asked = () => dialog.open && button.onclick === mine;
    try {
      await action();
      if (asked()) dialog.close();
      toast(done);
    } catch (failure) {
      if (!asked()) return toast(failure.message);
      setText(error, failure.message);
      button.disabled = false;
    }
  };
  const mine = button.onclick;
  dialog.showModal();
}

/** Asks the gateway to do something; throws what is to be said if it doesn't. */
export async function post(path, token) {
  let answer;
  try {
    answer = await fetch(path, {
      method: "POST",
      headers: { Authorization: `Bearer ${token}` },
      signal: AbortSignal.timeout(LIMIT_MS),
    });
  } catch (failure) {
    throw new Error(
      failure.name === "TimeoutError"
        ? "The gateway hasn't answered in 15 seconds. It may still do what was asked; look before you try again."
        : "The gateway can't be reached. Try again once the page is connected.",
    );
  }
  if (answer.ok) return;
  throw new Error(await reasonOf(answer));
}

async function reasonOf(answer) {
  if (answer.status === 401) return "The gateway refused the token. Load the page again to enter another.";
  const body = await answer.json().catch(() => null);
  return typeof body?.error === "string" && body.error !== "" ? body.error : `The gateway answered ${answer.status}.`;
}
