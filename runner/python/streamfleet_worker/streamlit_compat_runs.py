"""The part of `streamlit_compat` that is about runs' parts: private names, and their check.

Streamlit tells when a run begins and ends. What happens between is seen by subclasses of what it
calls meanwhile: the cache of compiled scripts, the session's state, and its fragments. Objects
that Streamlit has made become ones of ours, as its sessions do (see `adopt`).
"""

from __future__ import annotations

import functools
import inspect
import sys
from typing import TYPE_CHECKING, Any, Final

from streamlit.runtime import fragment as fragments
from streamlit.runtime.fragment import MemoryFragmentStorage
from streamlit.runtime.scriptrunner import exec_code
from streamlit.runtime.scriptrunner.script_cache import ScriptCache
from streamlit.runtime.scriptrunner.script_runner import ScriptRunner
from streamlit.runtime.state import SCRIPT_RUN_WITHOUT_ERRORS_KEY, SessionState

from streamfleet_worker import runs
from streamfleet_worker.values import type_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
    from streamlit.runtime.app_session import AppSession


def seams() -> list[tuple[str, bool]]:
    """What this module builds on, and whether this Streamlit has it."""
    run_script = {
        name for code in _codes(ScriptRunner._run_script.__code__) for name in code.co_names
    }
    found = [
        (f"ScriptRunner._run_script: {name}", name in run_script)
        for name in (
            "get_bytecode",
            "on_script_will_rerun",
            "maybe_check_serializable",
            _LOOK_UP,
            "SCRIPT_RUN_WITHOUT_ERRORS_KEY",
        )
    ]
    for owner, name in (
        (ScriptCache, "get_bytecode"),
        (SessionState, "on_script_will_rerun"),
        (SessionState, "maybe_check_serializable"),
    ):
        found.append((f"{owner.__name__}.{name}", hasattr(owner, name)))
    wrapping = fragments._fragment.__code__
    found.append((f"fragment: {_FUNCTION}", _FUNCTION in wrapping.co_cellvars))
    found += [
        (f"{module.__name__}: error handling", any(name in vars(module) for name in _HANDLING))
        for module in _HANDLERS.values()
    ]
    return found


def _codes(code: Any) -> Any:
    yield code
    for part in code.co_consts:
        if inspect.iscode(part):
            yield from _codes(part)


# How Streamlit finds a fragment that is to be run by itself, and what it calls the fragment's
# function in there.
_LOOK_UP: Final = "lookup" if hasattr(MemoryFragmentStorage, "lookup") else "get"
_FUNCTION: Final = "non_optional_func"
# Where exceptions that scripts let pass are caught, and shown.
_HANDLERS: Final = {module.__name__: module for module in (exec_code, fragments)}
_HANDLING: Final = ("handle_user_script_exception", "handle_uncaught_app_exception")


class FleetScriptCache(ScriptCache):
    """Says how long it takes to compile a script."""

    def get_bytecode(self, script_path: str) -> Any:
        """The script's code."""
        since = runs.now_us()
        code = super().get_bytecode(script_path)
        run = runs.current()
        # Pages that the script runs are compiled within its body.
        if run is not None and not run.phases and run.body_from_us == run.started_at_us:
            run.compiled(since)
        return code


class FleetSessionState(SessionState):
    """Says when a run's callbacks have been called, and its script has come to its end."""

    __slots__ = ()

    def on_script_will_rerun(self, *args: Any, **kwargs: Any) -> None:
        """Take over the page's values, and call back."""
        since = runs.now_us()
        try:
            super().on_script_will_rerun(*args, **kwargs)
        finally:
            run = runs.current()
            if run is not None:
                run.called_back(since)

    def maybe_check_serializable(self) -> None:
        """The last that is done of a script."""
        super().maybe_check_serializable()
        run = runs.current()
        if run is not None:
            run.completed()


class FleetFragmentStorage(MemoryFragmentStorage):
    """Says how long fragments take that are run by themselves."""


def _look_up(self: FleetFragmentStorage, key: str) -> Callable[[], Any]:
    fragment: Callable[[], Any] = getattr(super(FleetFragmentStorage, self), _LOOK_UP)(key)
    return functools.partial(_run_fragment, fragment)


setattr(FleetFragmentStorage, _LOOK_UP, _look_up)


def _run_fragment(fragment: Callable[[], Any]) -> Any:
    since = runs.now_us()
    try:
        return fragment()
    finally:
        run = runs.current()
        if run is not None:
            function = inspect.getclosurevars(fragment).nonlocals.get(_FUNCTION)
            run.ran_fragment(getattr(function, "__qualname__", ""), since)


def _count_as_streamlits_own() -> None:
    """Have these frames left out where an exception is shown: a script's author knows nothing of them.

    Streamlit leaves its own out, and knows them by their file.
    """
    for function in (
        FleetSessionState.on_script_will_rerun,
        FleetSessionState.maybe_check_serializable,
        FleetScriptCache.get_bytecode,
        _look_up,
        _run_fragment,
    ):
        code = function.__code__
        function.__code__ = code.replace(co_filename=str(exec_code.__file__))


_count_as_streamlits_own()


def adopt_parts(session: AppSession) -> None:
    """Have the session's parts tell what they do in a run."""
    session._session_state.__class__ = FleetSessionState
    if type(session._fragment_storage) is MemoryFragmentStorage:
        session._fragment_storage.__class__ = FleetFragmentStorage
    if type(session._script_cache) is ScriptCache:
        session._script_cache.__class__ = FleetScriptCache


def note_shown(run: runs.Run, message: ForwardMsg) -> None:
    """Note the exception that a message shows. To be called where the message is sent."""
    error = sys.exc_info()[1]
    if (
        error is None
        or message.WhichOneof("type") != "delta"
        or message.delta.new_element.WhichOneof("type") != "exception"
    ):
        return
    # Who catches an exception is the first that its traceback tells of.
    caught = error.__traceback__
    module = "" if caught is None else caught.tb_frame.f_globals.get("__name__", "")
    run.showed(type_name(error), failed=module in _HANDLERS)


def let_error_pass(session: AppSession) -> bool:
    """Whether the script that has just ended was ended by an exception, shown or not."""
    try:
        return not session.session_state[SCRIPT_RUN_WITHOUT_ERRORS_KEY]
    except KeyError:
        return False


def page_of(session: AppSession) -> str:
    """The path of the page that the last run was of."""
    pages = session._pages_manager
    page = pages.get_pages().get(pages.current_page_script_hash)
    return "/" if page is None else "/" + page.get("url_pathname", "")
