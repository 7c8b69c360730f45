"""The part of `streamlit_compat` that is about what runs a script: private names, and their check.

A session makes a `ScriptRunner` for each of its runs, in the midst of a method. `FleetAppSession`
has that method with another class in it; so does that class with the method that runs the script.
"""

from __future__ import annotations

import inspect
import weakref
from typing import TYPE_CHECKING, Any, Final

from streamlit.runtime.app_session import AppSession
from streamlit.runtime.scriptrunner import ScriptRunner, script_runner

from streamfleet_worker import streamlit_compat_config, streamlit_compat_state
from streamfleet_worker.rebinding import rebound
from streamfleet_worker.threads import ScriptThread, SessionThreads

if TYPE_CHECKING:
    from collections.abc import Callable


def seams() -> list[tuple[str, bool]]:
    """What this module builds on, and whether this Streamlit has it."""
    start = set(ScriptRunner.start.__code__.co_names)
    profile = inspect.signature(streamlit_compat_config.create_page_profile_message).parameters
    return [
        (
            "AppSession._create_scriptrunner: ScriptRunner",
            {"ScriptRunner", "start"} <= set(AppSession._create_scriptrunner.__code__.co_names),
        ),
        (
            "ScriptRunner.start",
            {"_script_thread", "_run_script_thread", "Thread"} <= start,
        ),
        (
            "ScriptRunner.__init__",
            {"on_event", "Signal", "SafeSessionState"}
            <= set(ScriptRunner.__init__.__code__.co_names),
        ),
        (
            "ScriptRunner._run_script: create_page_profile_message",
            "create_page_profile_message" in ScriptRunner._run_script.__code__.co_names,
        ),
        (
            "create_page_profile_message()",
            {"commands", "exec_time", "prep_time", "uncaught_exception"} <= set(profile),
        ),
    ]


_threads: weakref.WeakValueDictionary[str, SessionThreads] = weakref.WeakValueDictionary()


def threads_of(session_id: str, ended: Callable[[], None]) -> SessionThreads:
    """Threads for a session, to be kept by it. `ended` is called on them after each run."""
    threads = _threads[session_id] = SessionThreads(ended)
    return threads


class _Receivers:
    """A signal as a runner has one, for the one receiver that it gets, which is its session.

    Streamlit's keeps weak references, and looks for each message which of them are still good.
    """

    def __init__(self, **_: Any) -> None:
        self._receivers: list[Callable[..., Any]] = []
        # Tells of an event. Most of what a script does is one, so the one receiver is what is called.
        self.send: Callable[..., Any] = self._send

    def connect(self, receiver: Callable[..., Any], **_: Any) -> Callable[..., Any]:
        """Have it called."""
        self._receivers.append(receiver)
        self._take_shortcut()
        return receiver

    def disconnect(self, receiver: Callable[..., Any]) -> None:
        """Have it called no more."""
        self._receivers.remove(receiver)
        self._take_shortcut()

    def _take_shortcut(self) -> None:
        receivers = self._receivers
        self.send = receivers[0] if len(receivers) == 1 else self._send

    def _send(self, sender: Any = None, /, **event: Any) -> None:
        for receiver in self._receivers:
            receiver(sender, **event)


class FleetScriptRunner(ScriptRunner):
    """Runs a script on its session's thread."""

    __init__ = rebound(
        ScriptRunner.__init__,
        SafeSessionState=streamlit_compat_state.FleetSafeSessionState,
        Signal=_Receivers,
    )

    def start(self) -> None:
        """Begin, on a thread of its own or one that waits for its session's next run."""
        threads = _threads.get(self._session_id)
        if threads is None or self._script_thread is not None:
            super().start()
            return
        self._script_thread = thread = threads.take()
        thread.begin(self._run_script_thread)

    _run_script = rebound(
        ScriptRunner._run_script,
        create_page_profile_message=streamlit_compat_config.create_page_profile_message,
    )


def _count_as_streamlits_own() -> None:
    """Have the threads' own frame left out where a traceback is shown, as Streamlit leaves its own out.

    It knows them by their file.
    """
    method: Any = ScriptThread.run
    method.__code__ = method.__code__.replace(co_filename=str(script_runner.__file__))


_count_as_streamlits_own()


# As `AppSession` has it, with a runner of ours where Streamlit is as known.
create_scriptrunner: Final[Callable[[Any, Any], None]] = (
    rebound(AppSession._create_scriptrunner, ScriptRunner=FleetScriptRunner)
    if all(
        ok
        for _, ok in (*seams(), *streamlit_compat_config.seams(), *streamlit_compat_state.seams())
    )
    else AppSession._create_scriptrunner
)
