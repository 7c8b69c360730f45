"""How busy the worker is, told to the runner, and garbage collection when it is not busy."""

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


class LoadReporter:
    """Calls `report` soon after something changed, but not more often than the interval."""

    def __init__(self, report: Callable[[], None]) -> None:
        """Nothing is reported until `changed` is called the first time."""
        self._report = report
        self._scheduled = False
        self._last_change = 0.0

    def changed(self) -> None:
        """Something that `report` tells may have changed. Call on the event loop."""
        self._last_change = time.monotonic()
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_later(_REPORT_INTERVAL, self._send)

    def seconds_idle(self) -> float:
        """Seconds since the last change."""
        return time.monotonic() - self._last_change

    @property
    def last_change(self) -> float:
        """When something last changed, on the monotonic clock."""
        return self._last_change

    def _send(self) -> None:
        self._scheduled = False
        self._report()


async def collect_when_idle(load: LoadReporter) -> None:
    """Run forever: collect garbage after work, once the worker is idle or enough time is gone."""
    last_collection = time.monotonic()
    while True:
        await asyncio.sleep(_IDLE_BEFORE_COLLECTION)
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
