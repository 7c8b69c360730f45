"""Has cached values forgotten everywhere, and until that is done nothing be asked for them here."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import threading
import time
from typing import TYPE_CHECKING, Final

from streamlit.runtime.scriptrunner import get_script_run_ctx

from streamfleet_worker.calls import CallFailedError
from streamfleet_worker.seldom import Seldom

if TYPE_CHECKING:
    from streamfleet_worker.calls import Calls

_FAILED = Seldom(
    logging.getLogger(__name__),
    "The shared cache was cleared in this worker only: %s. It is tried again; until then this"
    " worker computes by itself what was to be cleared.",
)

# How long one try may take, and whoever clears waits for it, in seconds.
_LIMIT: Final = 5.0
# First and longest pause before another try, in seconds.
_RETRY_MIN: Final = 1.0
_RETRY_MAX: Final = 30.0
# When so many are still to be done, one for everything takes their place.
_MAX_OPEN: Final = 1000


@dataclasses.dataclass(eq=False, slots=True)
class _Clear:
    """Something to be forgotten, from this time on if it could not be done before."""

    at: float = 0.0
    tries: int = 0


class Clears:
    """Clears in a thread of its own: the event loop must not wait, and a failure is tried again."""

    def __init__(self, calls: Calls) -> None:
        """Clear by means of `calls`."""
        self._calls = calls
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        # By function id and key; both empty for everything.
        self._open: dict[tuple[str, str], _Clear] = {}

    def start(self, function_id: str = "", key: str = "") -> None:
        """Have a value forgotten, or all of a function, or everything."""
        with self._changed:
            if len(self._open) >= _MAX_OPEN:
                self._open.clear()
                function_id = key = ""
            self._open[function_id, key] = _Clear()
            self._changed.notify_all()
            if self._thread is None:
                # Ends with the process, which takes its own copies along.
                self._thread = threading.Thread(target=self._run, name="clears", daemon=True)
                self._thread.start()

    def wait(self) -> None:
        """Wait until all is forgotten, or could not be at first; never on the event loop."""
        if self._open and not _on_event_loop():
            with self._changed:
                self._changed.wait_for(self._all_tried, _LIMIT)

    def settled(self, function_id: str) -> bool:
        """Whether what others have of the function may be used, once that is known."""
        if not self._open:
            return True
        with self._changed:
            self._changed.wait_for(self._all_tried, _LIMIT)
            return not any(of in {"", function_id} for of, _ in self._open)

    # --- in the thread ----------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._changed:
                what, clear = self._next()
            try:
                self._clear(*what)
            except CallFailedError as error:
                _FAILED.warn(error)
                with self._changed:
                    clear.at = time.monotonic() + min(_RETRY_MIN * 2**clear.tries, _RETRY_MAX)
                    clear.tries += 1
                    self._changed.notify_all()
            else:
                with self._changed:
                    # The same may have been asked for once more meanwhile.
                    if self._open.get(what) is clear:
                        del self._open[what]
                    self._changed.notify_all()

    def _next(self) -> tuple[tuple[str, str], _Clear]:
        while True:
            found = min(self._open.items(), key=lambda item: item[1].at, default=None)
            pause = None if found is None else found[1].at - time.monotonic()
            if found is not None and pause is not None and pause <= 0:
                return found
            self._changed.wait(pause)

    def _clear(self, function_id: str, key: str) -> None:
        with self._calls.open(_LIMIT) as call:
            request = self._calls.wire.clear_values(function_id=function_id, key=key)
            call.send(clear_values=request)
            call.receive()

    def _all_tried(self) -> bool:
        return all(clear.tries for clear in self._open.values())


def _on_event_loop() -> bool:
    if get_script_run_ctx(suppress_warning=True) is not None:
        return False  # A script's own event loop may wait.
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
