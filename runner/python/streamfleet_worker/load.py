"""How busy and how late the worker is, told to the runner, and garbage collection when it is not busy."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

# Shortest time between two reports, in seconds.
_REPORT_INTERVAL: Final = 0.25
# How long no script must have run before a full collection, and how long one may be put off
# by scripts that keep running, in seconds. A collection of a small app's heap takes ~50 ms,
# during which no script runs; Streamlit's default is one after every run.
_IDLE_BEFORE_COLLECTION: Final = 0.5
_MAX_COLLECTION_DELAY: Final = 30.0
# How often it is looked how late the event loop is, in seconds, unless it has nothing to do; and
# how late is worth a report of its own.
_LOOK: Final = 0.1
_LATE: Final = 0.1


class LoadReporter:
    """Calls `report` soon after something changed, but not more often than the interval."""

    def __init__(self, report: Callable[[], None]) -> None:
        """Nothing is reported until `changed` is called the first time."""
        self._report = report
        self._scheduled = False
        self._last_change = 0.0
        self._worst_lag = 0.0

    def changed(self) -> None:
        """Something that `report` tells may have changed. Call on the event loop."""
        self._last_change = time.monotonic()
        self._schedule()

    def late(self, seconds: float) -> None:
        """The event loop was late. Call on it."""
        self._worst_lag = max(self._worst_lag, seconds)
        if seconds >= _LATE:
            self._schedule()

    def take_lag_us(self) -> int:
        """How late the event loop was at worst since the last call, in microseconds."""
        lag, self._worst_lag = self._worst_lag, 0.0
        return int(lag * 1e6)

    def seconds_idle(self) -> float:
        """Seconds since the last change."""
        return time.monotonic() - self._last_change

    @property
    def last_change(self) -> float:
        """When something last changed, on the monotonic clock."""
        return self._last_change

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_later(_REPORT_INTERVAL, self._send)

    def _send(self) -> None:
        self._scheduled = False
        self._report()


async def look_after(load: LoadReporter) -> None:
    """Run forever: see how late the event loop is, and collect garbage.

    That is done after work, once the worker is idle or enough time is gone.
    """
    last_collection = time.monotonic()
    while True:
        is_busy = load.seconds_idle() < _IDLE_BEFORE_COLLECTION
        pause = _LOOK if is_busy else _IDLE_BEFORE_COLLECTION
        due = time.monotonic() + pause
        await asyncio.sleep(pause)
        load.late(time.monotonic() - due)
        if load.last_change <= last_collection:
            continue  # Nothing ran since.
        overdue = time.monotonic() - last_collection > _MAX_COLLECTION_DELAY
        if overdue or load.seconds_idle() >= _IDLE_BEFORE_COLLECTION:
            gc.collect()
            last_collection = time.monotonic()


def resident_bytes() -> int:
    """The process's resident set size; 0 where the system doesn't tell."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            pages = int(statm.read().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
