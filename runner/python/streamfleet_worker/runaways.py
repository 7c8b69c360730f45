"""Runs of a script that don't end: stopped, interrupted, and at last given up.

Streamlit can ask a script to stop, which it notices at its next `st.` command. A script that
comes to none is interrupted by an exception that Python raises on its thread. One that is
inside C code, or catches everything, can only be ended with its process, which is the runner's
to do.
"""

from __future__ import annotations

import asyncio
import ctypes
import dataclasses
import threading
import time
from typing import TYPE_CHECKING, Final

from streamlit.runtime.scriptrunner import StopException

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlit.runtime.scriptrunner import ScriptRunner

# From the request to stop to the first interruption, from one interruption to the next, and from
# the first to giving up, in seconds.
_BEFORE_INTERRUPTION: Final = 2.0
_BETWEEN_INTERRUPTIONS: Final = 1.0
_BEFORE_GIVING_UP: Final = 5.0
# How often runs are looked at: a tenth of what they may take, but within these, in seconds.
_LOOKS: Final = (0.02, 0.5)


class RunTimeoutError(StopException):
    """Raised in a script that has run for too long.

    For Streamlit it is as if the script had called `st.stop`; for the script it is nothing that
    `except Exception` would catch.
    """


@dataclasses.dataclass(slots=True)
class _Run:
    session_id: str
    thread: threading.Thread
    started: float
    told_to_stop: bool = False
    interrupted: float | None = None
    last_interruption: float = 0.0
    given_up: bool = False
    ended: bool = False


class Runaways:
    """Watches all runs of this worker; the `RunListener` of its sessions."""

    def __init__(self, limit: float, stuck: Callable[[str, int], None]) -> None:
        """Stop runs after `limit` seconds; call `stuck` with session and milliseconds at last."""
        self._limit = limit
        self._stuck = stuck
        self._runs: dict[ScriptRunner, _Run] = {}
        # Held while a run's end is noted and while it is interrupted, so that no exception is
        # raised in what the thread does afterwards.
        self._lock = threading.Lock()

    def started(self, runner: ScriptRunner, session_id: str) -> None:
        """A run begins on this thread."""
        run = _Run(session_id, threading.current_thread(), time.monotonic())
        self._runs[runner] = run

    def finished(self, runner: ScriptRunner) -> str | None:
        """It has ended, or had before; returns what its user is to be told of it."""
        run = self._runs.get(runner)
        if run is None:
            return None
        while not run.ended:
            try:
                with self._lock:
                    if run.interrupted is not None:
                        _raise_in(run.thread, None)
                    run.ended = True
            except RunTimeoutError:
                continue  # The last one, on its way as the script ended.
        self._runs.pop(runner, None)
        if not run.told_to_stop:
            return None
        return (
            f"This run was stopped after {time.monotonic() - run.started:.1f} s"
            f" (run_timeout is {self._limit:g} s). What it did until then is kept."
        )

    async def watch(self) -> None:
        """Run forever."""
        shortest, longest = _LOOKS
        pause = min(max(self._limit / 10, shortest), longest)
        while True:
            await asyncio.sleep(pause)
            now = time.monotonic()
            for runner, run in list(self._runs.items()):
                if now - run.started >= self._limit:
                    self._press(runner, run, now)

    def _press(self, runner: ScriptRunner, run: _Run, now: float) -> None:
        if not run.told_to_stop:
            run.told_to_stop = True
            runner.request_stop()
        if now - run.started < self._limit + _BEFORE_INTERRUPTION:
            return
        if now - run.last_interruption >= _BETWEEN_INTERRUPTIONS:
            with self._lock:
                if run.ended or not run.thread.is_alive():
                    self._runs.pop(runner, None)
                    return
                run.last_interruption = now
                run.interrupted = run.interrupted or now
                _raise_in(run.thread, RunTimeoutError)
        if not run.given_up and run.interrupted and now - run.interrupted >= _BEFORE_GIVING_UP:
            run.given_up = True
            self._stuck(run.session_id, int((now - run.started) * 1000))


def _raise_in(thread: threading.Thread, error: type[BaseException] | None) -> None:
    """Have the thread raise the error at its next instruction; None takes back one not raised yet."""
    ident = ctypes.c_ulong(thread.ident or 0)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ident, None if error is None else ctypes.py_object(error)
    )
