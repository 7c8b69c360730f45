"""How many scripts run at a time, and whose turn it is when they are more.

A session has one script at most, so the order in which they come is fair: however often one of
them asks for a run, everybody else who waits has theirs before it has the next.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamlit.runtime.scriptrunner import ScriptRunner


class Turns:
    """Lets so many scripts run at a time. Its methods are called from any thread."""

    def __init__(self, places: int) -> None:
        """There are so many places, at least one."""
        self._free = places
        self._lock = threading.Lock()
        self._has_place: set[ScriptRunner] = set()
        self._waiting: dict[ScriptRunner, threading.Event] = {}

    def take(self, runner: ScriptRunner) -> None:
        """Wait on the script's thread until it may run, or is let go."""
        with self._lock:
            if runner in self._has_place:
                return
            its_turn = self._waiting.get(runner)
            if its_turn is None:
                if self._free > 0:
                    self._free -= 1
                    self._has_place.add(runner)
                    return
                its_turn = self._waiting[runner] = threading.Event()
        its_turn.wait()

    def succeed(self, former: ScriptRunner, runner: ScriptRunner) -> None:
        """A script that waits is to run no more, and another in its stead: a newer click is no reason to wait anew."""
        with self._lock:
            let_go = self._waiting.get(former)
            if let_go is None:
                return
            # It may have come already, to the end of the line, or is about to.
            its_turn = self._waiting.pop(runner, None) or threading.Event()
            self._waiting = {
                runner if other is former else other: its_turn if other is former else event
                for other, event in self._waiting.items()
            }
        let_go.set()

    def give_back(self, runner: ScriptRunner) -> None:
        """The script has ended, or had before: the next may run."""
        with self._lock:
            if runner not in self._has_place:
                # One that succeeded another may have been stopped before it came to wait.
                self._waiting.pop(runner, None)
                return
            self._has_place.remove(runner)
            if not self._waiting:
                self._free += 1
                return
            other = next(iter(self._waiting))
            its_turn = self._waiting.pop(other)
            self._has_place.add(other)
        its_turn.set()

    def let_go(self, runner: ScriptRunner) -> None:
        """Have a script that waits begin without a place: it has been told to stop, and will at once."""
        with self._lock:
            its_turn = self._waiting.pop(runner, None)
        if its_turn is not None:
            its_turn.set()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)
