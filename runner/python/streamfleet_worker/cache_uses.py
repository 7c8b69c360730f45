"""Tells the runner what has been served from memory here, without which it would take it for unused."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from typing import TYPE_CHECKING, Final, Protocol

from streamfleet_worker.calls import CallFailedError

if TYPE_CHECKING:
    from streamfleet_worker.calls import Calls

_LOGGER = logging.getLogger(__name__)

# Between two reports, in seconds.
_PAUSE: Final = 0.2
# Values in one report.
_MAX_VALUES: Final = 10_000
# How long a report may take, and how long it is waited for that it has been counted, in seconds.
_LIMIT: Final = 1.0
_COUNTED_LIMIT: Final = 0.1


class Source(Protocol):
    """Counts how often its values are used."""

    function_id: str

    def take_uses(self) -> dict[str, int]:
        """How often each value was used since the last time, by key."""


class Uses:
    """Collects the counts and reports them, a few times a second while there are any."""

    def __init__(self, calls: Calls) -> None:
        """Report by means of `calls`."""
        self._calls = calls
        self._sources: set[Source] = set()
        self._any = threading.Event()
        self._noting = threading.Lock()
        self._sending = threading.Lock()
        self._thread: threading.Thread | None = None

    def wake(self, source: Source) -> None:
        """There is something to be reported. Cheap, and called for the first of many uses."""
        with self._noting:
            self._sources.add(source)
            if self._thread is None:
                # Ends with the process.
                self._thread = threading.Thread(target=self._run, name="uses", daemon=True)
                self._thread.start()
        self._any.set()

    def report(self) -> None:
        """Report what there is. When it is done, the runner has taken note of all uses before."""
        # Before anything is looked at: another thread may be on its way with it.
        with self._sending:
            with self._noting:
                sources, self._sources = self._sources, set()
            uses = iter(
                [
                    self._calls.wire.value_used(
                        function_id=source.function_id, key=key, times=times
                    )
                    for source in sources
                    for key, times in list(source.take_uses().items())
                ]
            )
            try:
                while values := list(itertools.islice(uses, _MAX_VALUES)):
                    with self._calls.open(_LIMIT) as call:
                        call.send(values_used=self._calls.wire.values_used(values=values))
                        call.finish(_COUNTED_LIMIT)
            except CallFailedError as error:
                # Something else may be forgotten than would have been.
                _LOGGER.debug("cannot tell what was used: %s", error)

    def _run(self) -> None:
        while True:
            self._any.wait()
            time.sleep(_PAUSE)
            self._any.clear()
            self.report()
