"""The threads on which scripts run.

Streamlit makes a thread for each run, which costs a sixth of what a small app's click does: the
system's thread, its stack and its end. Here a session's thread waits a while for the session's
next run. It is nobody else's, and each run finds it as if it were new: what Python keeps for a
thread (`threading.local`, context variables, the thread object's attributes) is dropped after each.
Where Python has no way to do that, as from 3.13 on, each run has a thread of its own. What a library
written in C keeps for a thread, such as `torch.set_grad_enabled`, is not dropped, as it isn't between
a run and what `st.rerun` makes of it.
"""

from __future__ import annotations

import contextvars
import ctypes
import functools
import queue
import sys
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_NO_ARGUMENTS: Final[dict[str, object]] = {}
# As Streamlit calls them.
_NAME: Final = "ScriptRunner.scriptThread"
# How long a thread waits for its session's next run, in seconds. A user who clicks has clicked again
# by then, or reads.
_PATIENCE: Final = 10.0
# So many wait at a time in one worker. Each is counted by the system, and has touched some 100 KB.
_MAX_WAITING: Final = 64


class SessionThreads:
    """The threads of one session. Its methods are called from any thread."""

    # Held while it is decided whose a waiting thread is, and how many there are.
    _lock: Final = threading.Lock()
    _count = 0

    def __init__(self, ended: Callable[[], None]) -> None:
        """There is none yet. `ended` is called on each of them after a run, and is to be quick."""
        self.ended = ended
        self._waiting: ScriptThread | None = None
        self._closed = False

    def take(self) -> ScriptThread:
        """A thread for one run, to be given what it is to do."""
        with self._lock:
            thread, self._waiting = self._waiting, None
            if thread is None:
                return ScriptThread(self)
            SessionThreads._count -= 1
            return thread

    def close(self) -> None:
        """The session is over, or about to be: none waits from now on."""
        self._closed = True
        with self._lock:
            thread = self._waiting
        if thread is not None and self.give_up(thread):
            thread.dismiss()

    def offer(self, thread: ScriptThread) -> bool:
        """A run is over; whether its thread is to wait for the next one."""
        with self._lock:
            if self._closed or self._waiting is not None or SessionThreads._count >= _MAX_WAITING:
                return False
            self._waiting = thread
            SessionThreads._count += 1
            return True

    def give_up(self, thread: ScriptThread) -> bool:
        """The thread is to wait no more; not if it has been taken meanwhile."""
        with self._lock:
            if self._waiting is not thread:
                return False
            self._waiting = None
            SessionThreads._count -= 1
            return True


class ScriptThread(threading.Thread):
    """Runs a session's script, now and again."""

    def __init__(self, session: SessionThreads) -> None:
        super().__init__(name=_NAME, daemon=True)
        self._session = session
        if hasattr(self, "_started"):
            self._started = _Unwaited()
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()

    def begin(self, work: Callable[[], None]) -> None:
        """Do this, once, and then what `take` gives it to others for."""
        self._work.put(work)
        if self.ident is None:
            self.start()

    def dismiss(self) -> None:
        """Wait no more."""
        self._work.put(None)

    def run(self) -> None:
        """Do what there is to do. An exception that it lets pass ends the thread, as it would one of Streamlit's."""
        hooks = _hooks()
        attributes = dict(vars(self))
        work = self._work.get()
        while work is not None:
            # A new thread's context is empty. Python's own method calls what a thread is for, so that
            # a traceback shows what it shows of any thread.
            self._target = functools.partial(contextvars.Context().run, work)
            self._args, self._kwargs = (), _NO_ARGUMENTS
            super().run()
            del work
            waits = _hooks() == hooks and self._forget(attributes) and self._session.offer(self)
            # Last, as whoever is woken by it needs the interpreter.
            self._session.ended()
            if not waits:
                return
            work = self._wait()

    def _wait(self) -> Callable[[], None] | None:
        try:
            return self._work.get(timeout=_PATIENCE)
        except queue.Empty:
            # Whoever has taken it meanwhile is about to say what for.
            return None if self._session.give_up(self) else self._work.get()

    def _forget(self, attributes: dict[str, object]) -> bool:
        """Drop what belongs to the run before; whether that is possible."""
        for name in vars(self).keys() - attributes.keys():
            del vars(self)[name]
        self.name = _NAME
        _probe.is_there = True
        _drop_locals()
        return not hasattr(_probe, "is_there")


class _Unwaited(threading.Event):
    """Is set by a thread that has started, which nobody waits for.

    Python has whoever starts a thread wait for it, which takes two switches between them.
    """

    def wait(self, timeout: float | None = None) -> bool:
        """Go on at once."""
        del timeout
        return True


# Shows whether what `threading.local` holds has been dropped.
_probe: Final = threading.local()


def _hooks() -> tuple[object, object]:
    """What a debugger or a profiler has put on this thread."""
    return sys.gettrace(), sys.getprofile()


def _drop_locals() -> None:
    """Drop what `threading.local` holds for this thread, as Python does at its end; up to 3.12."""
    address = _get_dict()
    if address:
        # As a pointer, since it is lent: ctypes would take a returned object for given.
        kept: dict[object, object] = ctypes.cast(address, ctypes.py_object).value
        kept.clear()


_get_dict: Final = ctypes.pythonapi.PyThreadState_GetDict
_get_dict.restype = ctypes.c_void_p
