"""Every private name of Streamlit that the worker touches, and the check that they are there.

Nothing is patched but what `streamlit_compat_cache` and `streamlit_compat_charts` say: classes are
subclassed, and what Streamlit hands out is configured. Where a name begins with an underscore it is used in the modules of this
name and in no other, so that a new Streamlit release has one place to be compared with.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import inspect
import sys
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import streamlit
from streamlit import config
from streamlit.config_option import ConfigOption
from streamlit.logger import get_logger
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime import scriptrunner
from streamlit.runtime.app_session import AppSession, AppSessionState
from streamlit.runtime.script_data import ScriptData
from streamlit.runtime.scriptrunner import (
    ScriptRunner,
    ScriptRunnerEvent,
    StopException,
    get_script_run_ctx,
)

from streamfleet_worker import (
    app_traces,
    streamlit_compat_cache,
    streamlit_compat_charts,
    streamlit_compat_config,
    streamlit_compat_content,
    streamlit_compat_messages,
    streamlit_compat_runner,
    streamlit_compat_runs,
    streamlit_compat_state,
)
from streamfleet_worker.core import Core
from streamfleet_worker.errors import AppCannotRunError
from streamfleet_worker.runs import Asked, Outcome, Reason, current, now_us
from streamfleet_worker.values import type_name

if TYPE_CHECKING:
    import asyncio

    from streamlit.proto.BackMsg_pb2 import BackMsg
    from streamlit.runtime import Runtime
    from streamlit.runtime.websocket_session_manager import WebsocketSessionManager
    from streamlit.web.server.starlette.starlette_app import App

    from streamfleet_worker.runs import Run, SessionRuns
    from streamfleet_worker.threads import SessionThreads
    from streamfleet_worker.turns import Turns

_LOGGER: Final = get_logger(__name__)

# Streamlit versions whose private names have been compared with this module: from the first on,
# and below the second.
SUPPORTED: Final = ((1, 57), (2, 0))


def check_streamlit() -> None:
    """Raise `AppCannotRunError` unless this Streamlit has everything the worker builds on."""
    found = streamlit.__version__
    version = tuple(int(part) for part in found.split(".")[:2] if part.isdigit())
    low, high = (".".join(map(str, bound)) for bound in SUPPORTED)
    if not SUPPORTED[0] <= version < SUPPORTED[1]:
        raise AppCannotRunError(
            f"Streamlit {found} is not supported: install a version from {low} up, below {high}"
            f" (pip install 'streamlit>={low},<{high}')."
        )
    missing = [name for name, ok in _seams() if not ok]
    if missing:
        raise AppCannotRunError(
            f"Streamlit {found} has changed inside: {', '.join(missing)} is not as Streamfleet"
            f" knows it. Use an earlier Streamlit (from {low} up), or a newer Streamfleet."
        )


def slow_paths() -> list[str]:
    """What of this Streamlit isn't as known, and only costs time."""
    parts = (streamlit_compat_config, streamlit_compat_runner, streamlit_compat_state)
    found = [seam for part in parts for seam in part.seams()]
    return [name for name, ok in found if not ok]


def _seams() -> list[tuple[str, bool]]:
    def parameters(function: Any) -> list[str]:
        return list(inspect.signature(function).parameters)

    handler = "_handle_scriptrunner_event_on_event_loop"
    names = [
        ("AppSession", AppSession, "_on_scriptrunner_event"),
        ("AppSession", AppSession, handler),
        ("AppSession", AppSession, "_create_new_session_message"),
        ("AppSession", AppSession, "_populate_app_pages"),
        ("AppSession", AppSession, "flush_browser_queue"),
        ("AppSession", AppSession, "request_rerun"),
        ("AppSession", AppSession, "_create_scriptrunner"),
        ("AppSession", AppSession, "request_script_stop"),
        ("AppSession", AppSession, "clear_session_caches"),
        ("AppSession", AppSession, "clear_user_info"),
        ("AppSession", AppSession, "handle_backmsg"),
        ("AppSession", AppSession, "_enqueue_forward_msg"),
        ("ScriptRunner", ScriptRunner, "request_stop"),
        ("config", config, "get_config_options"),
        ("config", config, "_main_script_path"),
    ]
    parts = (streamlit_compat_cache, streamlit_compat_content, streamlit_compat_runs)
    found = [seam for part in parts for seam in part.seams()]
    found += [(f"{owner}.{name}", hasattr(thing, name)) for owner, thing, name in names]
    if _HAS_RUN_DESCRIPTORS:
        found.append(("RunDescriptor", hasattr(scriptrunner, "RunDescriptor")))
    if all(ok for _, ok in found):
        found.append(
            (
                f"AppSession.{handler}()",
                parameters(AppSession._on_scriptrunner_event)
                == parameters(getattr(AppSession, handler)),
            )
        )
    return found


# --- Configuration ------------------------------------------------------------------------


def load_options(script_path: str, flags: list[str]) -> dict[str, Any]:
    """Load Streamlit's configuration as `streamlit run script_path FLAGS` does.

    Returns the flags' values by option name, as Streamlit's own loader takes them. Raises
    `AppCannotRunError` in Streamlit's words when a flag is unknown or its value is wrong.
    """
    import click
    from streamlit.web.bootstrap import load_config_options
    from streamlit.web.cli import configurator_options

    @click.command(name="run")
    @configurator_options
    def parse(**values: Any) -> dict[str, Any]:
        return values

    try:
        values: dict[str, Any] = parse.main(flags, prog_name="streamlit", standalone_mode=False)
    except click.ClickException as error:
        raise AppCannotRunError(error.format_message()) from None
    except SystemExit as error:
        raise AppCannotRunError(str(error)) from None

    config._main_script_path = script_path
    load_config_options(values)
    config._server_mode = "starlette-managed"
    return values


def watch_config_files(flag_values: dict[str, Any]) -> None:
    """Load the configuration anew when a config.toml changes, as `streamlit run` does."""
    from streamlit.web.bootstrap import _install_config_watchers

    _install_config_watchers(flag_values)


def override_options(options: dict[str, Any]) -> None:
    """Set options that the user has not set, now and after each reload of the configuration.

    Those that this Streamlit doesn't have are left out.
    """
    options = streamlit_compat_config.known_options(options)

    def apply(_path: str | None = None) -> None:
        for name, value in options.items():
            if not config.is_manually_set(name):
                config.set_option(name, value, _STREAMLIT_DEFINITION)

    apply()
    # The signal keeps only a weak reference.
    _kept_alive.append(apply)
    config.on_config_parsed(apply, force_connect=True)


# Streamlit's mark of a value that it has set by itself.
_STREAMLIT_DEFINITION: Final = ConfigOption.STREAMLIT_DEFINITION
_kept_alive: list[Any] = []


# --- The app ------------------------------------------------------------------------------


def find_asgi_app(script_path: Path) -> Any | None:
    """The ASGI app (`st.App` or other) that the script defines, imported; None if it has none."""
    from streamlit.web.server.app_discovery import discover_asgi_app
    from uvicorn.importer import ImportFromStringError, import_from_string

    found = discover_asgi_app(script_path)
    if not found.is_asgi_app or found.import_string is None:
        return None
    config._server_mode = "starlette-app"
    try:
        return import_from_string(found.import_string)
    except ImportFromStringError as error:
        raise AppCannotRunError(f"{script_path}: {error}") from error


def script_of(app: App) -> str:
    """The path of the script that an `st.App` runs. Raises `AppCannotRunError` if it isn't there."""
    path = app._resolve_script_path()
    if not path.is_file():
        raise AppCannotRunError(f"st.App: the script {path} does not exist.")
    return str(path)


def error_handler_of(app: App) -> Any | None:
    """The `on_script_error` callback of an `st.App`, where this Streamlit has them."""
    return getattr(app, "_on_script_error", None)


def give_runtime(app: App, runtime: Runtime) -> None:
    """Have an `st.App` serve with this runtime instead of making its own."""
    app._runtime = runtime


# --- Sessions -----------------------------------------------------------------------------


class SessionListener(Protocol):
    """Is told of a session's life. Called on the event loop, but for `before_run`."""

    def on_messages(self) -> None:
        """There are messages for the browser. Callable from any thread."""

    def on_rest(self) -> None:
        """The script has come to an end, and no other run is asked for.

        Runs that are over with it are to be reported, as in `on_run_over`.
        """

    def on_run_over(self) -> None:
        """A run is over, and to be reported once all that it has sent is on its way."""

    def before_run(self, client_state: ClientState | None, asked: Asked) -> bool:
        """A run is asked for; whether it is to be left out. Callable from any thread."""


class RunListener(Protocol):
    """Is told of each run of a script, on the script's thread."""

    def started(self, runner: ScriptRunner, session_id: str) -> None:
        """A run begins on this thread."""

    def finished(self, runner: ScriptRunner) -> str | None:
        """It has ended, or had before; returns what its user is to be told of it."""


class FleetAppSession(AppSession):
    """An `AppSession` whose messages leave in batches, as soon as they are made.

    Not constructed: `adopt` turns a session that Streamlit made into one.
    """

    # What a script's thread tells, and the run that begins or ends with it.
    _fleet_events: collections.deque[tuple[tuple[Any, ...], dict[str, Any], Run | None]]
    _fleet_drain_scheduled: bool
    _fleet_draining: bool
    listener: SessionListener | None
    run_listener: RunListener | None
    # Where only so many scripts run at a time.
    turns: Turns | None
    runs: SessionRuns | None
    # The browser's message that is being handled.
    message: Asked | None
    # What a new script's thread is for.
    _fleet_asked: Asked
    # What its browser shows may come from another process, with fragments not known here.
    page_is_foreign: bool
    # A message from the browser has changed something, without a run.
    changed_at_rest: bool
    # Its browser is about to be connected another way: nothing of it is to be stopped.
    is_changing_hands: bool
    # It goes on in another process, if it isn't there already.
    is_leaving: bool
    _fleet_logged_out: bool
    # What its scripts run on, and what its events are handled on.
    _fleet_threads: SessionThreads
    _fleet_loop_thread: int
    # Until then what a script tells may wait.
    _fleet_timer: asyncio.TimerHandle | None

    def flush_browser_queue(self) -> list[ForwardMsg]:
        """Nothing: the runtime's own loop must not take messages that leave another way."""
        return []

    def take_messages(self) -> list[ForwardMsg]:
        """The messages made since the last call, in order."""
        return super().flush_browser_queue()

    def messages_sent(self) -> None:
        """Tell the session that what `take_messages` returned is on its way."""
        # Newer versions settle agent sessions in it.
        notify = getattr(self, "on_flushed_messages_sent", None)
        if notify is not None:
            notify()

    @property
    def is_at_rest(self) -> bool:
        """Whether no run of the script is going on or asked for."""
        return self._scriptrunner is None

    @property
    def is_over(self) -> bool:
        """Whether the session is being ended."""
        return self._state == AppSessionState.SHUTDOWN_REQUESTED

    @property
    def may_come_back(self) -> bool:
        """Whether its user has not logged out."""
        resumable = getattr(self, "is_resumable", None)  # newer than 1.57
        return not self._fleet_logged_out and (resumable is None or bool(resumable()))

    def clear_user_info(self) -> None:
        """The user logs out."""
        self._fleet_logged_out = True
        super().clear_user_info()

    def request_script_stop(self) -> None:
        """Stop the script, unless only the connection is another."""
        if self.is_changing_hands:
            return
        runner = self._scriptrunner
        super().request_script_stop()
        if self.turns is not None and runner is not None:
            self.turns.let_go(runner)

    def shutdown(self) -> None:
        """End the session."""
        super().shutdown()
        self._fleet_threads.close()

    def clear_session_caches(self) -> None:
        """Clear what is cached for the session, unless only the connection is another."""
        if self.is_changing_hands:
            return
        if self.is_leaving:
            streamlit_compat_cache.leave_session(self.id)
        super().clear_session_caches()

    def handle_backmsg(self, msg: BackMsg) -> None:
        """Handle a message from the browser."""
        super().handle_backmsg(msg)
        if msg.WhichOneof("type") in _CHANGE_WITHOUT_RUN:
            self.changed_at_rest = True

    def request_rerun(self, client_state: ClientState | None) -> None:
        """Run the script for the browser, or because its source has changed."""
        asked = self._what_for(client_state)
        if self.listener is None or not self.listener.before_run(client_state, asked):
            self.run_for(client_state, asked)

    def _what_for(self, client_state: ClientState | None) -> Asked:
        message = self.message
        if message is None:
            return Asked(at_us=now_us())
        if client_state is not None and client_state.is_auto_rerun:
            return Asked(at_us=message.at_us)  # A fragment's timer, which is in the page.
        is_first = self.runs is not None and not self.runs.any
        reason = Reason.OPENED if is_first else Reason.INTERACTION
        return Asked(message.trace, message.seq, message.at_us, reason)

    def run_for(self, client_state: ClientState | None, asked: Asked) -> None:
        """Run the script for the browser."""
        if self.page_is_foreign and client_state is not None:
            fragment_id = client_state.fragment_id
            if not fragment_id:
                self.page_is_foreign = False
            elif not self._has_fragment(fragment_id):
                # A fragment that the process before knew, such as a dialog: Streamlit would
                # ignore the message, and the page would seem dead.
                self.page_is_foreign = False
                whole = ClientState()
                whole.CopyFrom(client_state)
                whole.ClearField("fragment_id")
                client_state = whole
        self.run(client_state, asked)

    def run(self, client_state: ClientState | None, asked: Asked) -> None:
        """Run the script, whoever asks for it."""
        runs, runner = self.runs, self._scriptrunner
        fragment_id = "" if client_state is None else client_state.fragment_id
        if runs is None or self.is_over or (fragment_id and not self._has_fragment(fragment_id)):
            super().request_rerun(client_state)  # It won't run, or nobody wants to know.
            return
        runs.any = True
        self._fleet_asked = asked
        if runner is not None:
            runs.ask(runner, asked)
        super().request_rerun(client_state)
        if runner is not None and runner is not self._scriptrunner:
            runs.leave(runner)
            if self.turns is not None and self._scriptrunner is not None:
                self.turns.succeed(runner, self._scriptrunner)

    def _create_scriptrunner(self, initial_rerun_data: Any) -> None:
        if self.runs is not None:
            self.runs.ask_new(self._fleet_asked)
        self._let_messages_wait()
        streamlit_compat_runner.create_scriptrunner(self, initial_rerun_data)
        if self.runs is not None and self._scriptrunner is not None:
            self.runs.made(self._scriptrunner)

    def _let_messages_wait(self) -> None:
        """Handle what the script tells from now on when it has ended, or so much later.

        Most scripts end soon. Waking the event loop for the first that they tell would have it wait
        for the interpreter, and send the browser two batches instead of one. A script that has told
        nothing meanwhile wakes it at once when it does.
        """
        if not self._fleet_drain_scheduled and threading.get_ident() == self._fleet_loop_thread:
            self._fleet_drain_scheduled = True
            self._fleet_timer = self._event_loop.call_later(_PATIENCE, self._drain_events)

    def thread_rests(self) -> None:
        """A run is over, and all is told of it. Called on its thread."""
        if self._fleet_timer is not None:
            with contextlib.suppress(RuntimeError):  # The loop is closed.
                self._event_loop.call_soon_threadsafe(self._drain_events)

    def _has_fragment(self, fragment_id: str) -> bool:
        return self._fragment_storage.contains(fragment_id)

    def show_notice(self, text: str) -> None:
        """Show a text to the user, and have the page stop waiting for a run. Only at rest.

        It goes into the container of toasts, whose first place exists on every page, within the
        run of a fragment that there isn't: the end of such a run leaves everything else as it
        is, while a toast on its own may be taken for one that was shown before.
        """
        page = self._client_state.page_script_hash or self._pages_manager.main_script_hash
        fragment = "streamfleet-notice"
        started: dict[str, Any] = {"page_script_hash": page, "fragment_ids_this_run": [fragment]}
        finished: dict[str, Any] = {}
        if _HAS_RUN_DESCRIPTORS:
            descriptor = vars(scriptrunner)["RunDescriptor"].create([fragment])
            started["run_descriptor"] = finished["run_descriptor"] = descriptor
        handle = self._handle_scriptrunner_event_on_event_loop
        handle(None, ScriptRunnerEvent.SCRIPT_STARTED, **started)
        message = ForwardMsg()
        message.metadata.delta_path[:] = [_TOASTS, 0]
        message.metadata.active_script_hash = page
        message.delta.fragment_id = fragment
        message.delta.new_element.toast.body = text
        message.delta.new_element.toast.icon = "\N{WARNING SIGN}\N{VARIATION SELECTOR-16}"
        message.delta.new_element.toast.duration = 0  # until it is closed
        self._enqueue_forward_msg(message)
        handle(None, ScriptRunnerEvent.FRAGMENT_STOPPED_WITH_SUCCESS, **finished)

    # Streamlit wakes the event loop once for each message of a script. Once for as many as
    # there are is enough: while the script holds the interpreter, the loop couldn't run anyway.
    def _on_scriptrunner_event(self, *args: Any, **kwargs: Any) -> None:
        event = kwargs.get("event")
        if event == ScriptRunnerEvent.ENQUEUE_FORWARD_MSG:  # Most of them are.
            if sys.exc_info()[1] is not None:
                self._look_at_failure(kwargs["forward_msg"])
            self._append_event(args, kwargs)
            return
        run = None
        if event == ScriptRunnerEvent.SCRIPT_STARTED:
            if self.turns is not None:
                self.turns.take(args[0])
            run = self._begin_run(args[0], kwargs)
        for _ in range(2):
            try:
                self._look_at_event(*args, **kwargs)
            except StopException:
                continue  # Meant for the script, which has just ended.
            except Exception:
                _LOGGER.exception("The end of a run could not be told")
            break
        if event is not None and event != ScriptRunnerEvent.SCRIPT_STARTED:
            run = self._end_run(args[0], event, kwargs.get("exception"))
            if run is not None:
                app_traces.leave(run.token)
            if self.turns is not None:
                self.turns.give_back(args[0])
        self._append_event(args, kwargs, run)

    def _append_event(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], run: Run | None = None
    ) -> None:
        self._fleet_events.append((args, kwargs, run))
        if self._fleet_drain_scheduled:
            return
        self._fleet_drain_scheduled = True
        try:
            self._event_loop.call_soon_threadsafe(self._drain_events)
        except RuntimeError:
            # Streamlit, too, drops events that come after the loop's end.
            if not self._event_loop.is_closed():
                raise

    def _look_at_event(
        self, runner: ScriptRunner | None, event: ScriptRunnerEvent, *_: Any, **__: Any
    ) -> None:
        if runner is None:
            return
        if event == ScriptRunnerEvent.SHUTDOWN and hasattr(_on_this_thread, "end"):
            _on_this_thread.end.is_told = True
        listener = self.run_listener
        if event == ScriptRunnerEvent.SCRIPT_STARTED:
            if not hasattr(_on_this_thread, "end"):
                _on_this_thread.end = _EndOfThread(self, runner)
            if listener is not None:
                listener.started(runner, self.id)
            return
        message = None if listener is None else listener.finished(runner)
        if message is None or event == ScriptRunnerEvent.SHUTDOWN:
            return
        # Streamlit's own commands still work here, on the thread of the script that has ended.
        if event == ScriptRunnerEvent.FRAGMENT_STOPPED_WITH_SUCCESS:
            # What a fragment writes once it has ended lands on the page's other elements.
            streamlit.toast(message, icon="\N{NO ENTRY}", duration="infinite")
        else:
            streamlit.error(message, icon="\N{NO ENTRY}")

    def _begin_run(self, runner: ScriptRunner, event: dict[str, Any]) -> Run | None:
        ctx = get_script_run_ctx(suppress_warning=True)
        if self.runs is None or ctx is None:
            return None
        first = self.runs.first
        if runner is not self._scriptrunner:
            first = []  # It is another that is being made.
        fragments = event["fragment_ids_this_run"]
        run = self.runs.begin(runner, ctx, first, of_fragments=bool(fragments))
        run.token = app_traces.enter(run.context)
        return run

    def _end_run(
        self,
        runner: ScriptRunner,
        event: ScriptRunnerEvent,
        error: BaseException | None = None,
    ) -> Run | None:
        run = None if self.runs is None else self.runs.take(runner)
        if run is None:
            return None
        if event == ScriptRunnerEvent.SCRIPT_STOPPED_WITH_COMPILE_ERROR and error is not None:
            run.showed(type_name(error), failed=True)
            outcome = Outcome.COMPILE_ERROR
        elif event == ScriptRunnerEvent.SCRIPT_STOPPED_FOR_RERUN:
            outcome = Outcome.RERUN
        elif run.has_failed:
            outcome = Outcome.EXCEPTION
        elif run.is_complete:
            outcome = Outcome.FINISHED
        elif (
            event != ScriptRunnerEvent.SHUTDOWN
            and not run.is_of_fragments
            and streamlit_compat_runs.let_error_pass(self)
        ):
            outcome = Outcome.EXCEPTION
        else:
            outcome = Outcome.STOPPED
        run.end(outcome, streamlit_compat_runs.page_of(self))
        # The script may have loaded it.
        streamlit_compat_charts.look()
        return run

    def _look_at_failure(self, message: ForwardMsg) -> None:
        run = current()
        if run is not None:
            streamlit_compat_runs.note_shown(run, message)

    def _run_is_over(self, run: Run, *, superseded: bool) -> None:
        assert self.runs is not None
        self.runs.over(run, superseded=superseded)
        if self.listener is None:
            self.runs.report()
        elif not self._fleet_draining:
            self.listener.on_run_over()

    def _drain_events(self) -> None:
        # Cleared first: an event that comes from now on schedules another drain, which at worst
        # finds nothing.
        self._fleet_drain_scheduled = False
        timer, self._fleet_timer = self._fleet_timer, None
        if timer is not None:
            timer.cancel()
        if not self._fleet_events:
            return
        was_running = self._scriptrunner is not None
        # The listener is told at the end, once.
        self._fleet_draining = True
        try:
            is_over = self._handle_events()
        finally:
            self._fleet_draining = False
        if self._scriptrunner is not None:
            self._let_messages_wait()
        listener = self.listener
        if listener is None:
            return
        if was_running and self._scriptrunner is None:
            listener.on_rest()
        elif is_over:
            listener.on_run_over()
        else:
            listener.on_messages()

    def _handle_events(self) -> bool:
        """Have Streamlit handle what the script's thread has told; whether a run is over."""
        is_over = False
        events = self._fleet_events
        while events:
            args, kwargs, run = events.popleft()
            event = kwargs.get("event")
            is_current = args[0] is self._scriptrunner
            if event == ScriptRunnerEvent.ENQUEUE_FORWARD_MSG and is_current:
                # Most of them are, and nothing else is done for them.
                self._enqueue_forward_msg(kwargs["forward_msg"])
                continue
            begins = event == ScriptRunnerEvent.SCRIPT_STARTED
            if run is not None and begins and is_current and self.runs is not None:
                self.runs.began(run)
            try:
                if event == ScriptRunnerEvent.SHUTDOWN and is_running(self):
                    # It left by an exception that Streamlit doesn't know, without another word.
                    self._handle_scriptrunner_event_on_event_loop(
                        args[0], ScriptRunnerEvent.SCRIPT_STOPPED_WITH_SUCCESS
                    )
                self._handle_scriptrunner_event_on_event_loop(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 - handed to the loop
                # One event's failure must not take the ones behind it along.
                self._event_loop.call_exception_handler(
                    {"message": "a script event could not be handled", "exception": error}
                )
            if run is not None and not begins:
                self._run_is_over(run, superseded=not is_current)
                is_over = True
        return is_over

    def thread_ended(self, runner: ScriptRunner) -> None:
        """Come to rest also when a script has ended its thread, as `sys.exit` does."""
        run = self._end_run(runner, ScriptRunnerEvent.SHUTDOWN)
        if self.turns is not None:
            self.turns.give_back(runner)
        if runner is not self._scriptrunner:
            if run is not None:
                self._run_is_over(run, superseded=True)
            return  # It has said so itself.
        _LOGGER.warning("A script has ended its thread; use st.stop to end a run.")
        ended = {"event": ScriptRunnerEvent.SHUTDOWN, "client_state": self._client_state}
        self._append_event((runner,), ended, run)

    def _create_new_session_message(self, *args: Any, **kwargs: Any) -> ForwardMsg:
        build = super()._create_new_session_message
        return streamlit_compat_messages.new_session.create(self, build, args, kwargs)


class _EndOfThread:
    """Notices the end of a script's thread: Python drops then what only the thread has.

    Newer versions of Streamlit tell of it whatever happens; older ones don't when the script
    leaves by an exception that they don't know.
    """

    def __init__(self, session: FleetAppSession, runner: ScriptRunner) -> None:
        self._session = weakref.ref(session)
        self._runner = runner
        self.is_told = False

    def __del__(self) -> None:
        session = self._session()
        if session is not None and not self.is_told:
            with contextlib.suppress(RuntimeError):  # The loop is closed.
                session._event_loop.call_soon_threadsafe(session.thread_ended, self._runner)


_on_this_thread = threading.local()


def _on_thread_end(session: weakref.ref[FleetAppSession]) -> None:
    adopted = session()
    if adopted is not None:
        adopted.thread_rests()


def adopt(session: AppSession) -> FleetAppSession:
    """Make the session one of ours; its messages then wait until they are taken."""
    if isinstance(session, FleetAppSession):
        adopted = session
    else:
        session.__class__ = FleetAppSession
        assert isinstance(session, FleetAppSession)
        adopted = session
        adopted._fleet_events = collections.deque()
        adopted._fleet_drain_scheduled = adopted._fleet_draining = False
        adopted._fleet_logged_out = False
        adopted._fleet_loop_thread = threading.get_ident()
        adopted._fleet_timer = None
        adopted._fleet_threads = streamlit_compat_runner.threads_of(
            adopted.id, functools.partial(_on_thread_end, weakref.ref(adopted))
        )
        adopted.listener = None
        adopted.run_listener = None
        adopted.turns = None
        adopted.runs = None
        adopted.message = None
        adopted._fleet_asked = Asked()
        streamlit_compat_runs.adopt_parts(adopted)
        adopted.page_is_foreign = False
        adopted.changed_at_rest = False
        adopted.is_changing_hands = False
        adopted.is_leaving = False
        # Bound late: the listener may change.
        adopted._message_enqueued_callback = functools.partial(_on_messages, adopted)
    watcher = adopted._local_sources_watcher
    if watcher is not None and config.get_option("server.fileWatcherType") == "none":
        # Even then it looks at every imported module after a session's first run, and again when
        # the browser comes back: a tenth of a second each, during which nobody is served.
        watcher.close()
        adopted._local_sources_watcher = None
    return adopted


def _on_messages(session: FleetAppSession) -> None:
    if session.listener is not None and not session._fleet_draining:
        session.listener.on_messages()


def may_resume(session: AppSession, user_info: dict[str, Any]) -> bool:
    """Whether a connection with this identity may have the session back."""
    resumable = getattr(session, "is_resumable", None)
    if resumable is not None and not resumable():
        return False  # Its user has logged out.
    matches = getattr(session, "matches_user_info", None)
    # Versions that do not check identities give any session to whoever knows its id.
    return True if matches is None else bool(matches(user_info))


def is_running(session: AppSession) -> bool:
    """Whether the session's script is being run."""
    return session._state == AppSessionState.APP_IS_RUNNING


# How long what a script tells may wait for what it tells next, in seconds. Plain Streamlit sleeps for
# longer before it sends anything.
_PATIENCE: Final = 0.003
# Messages from the browser that change a session's state though no script runs.
_CHANGE_WITHOUT_RUN: Final = frozenset({"clear_cache", "set_run_on_save"})
# The place of the container of toasts among the page's containers.
_TOASTS: Final = 2
_HAS_RUN_DESCRIPTORS: Final = (
    "run_descriptor" in inspect.signature(AppSession._create_new_session_message).parameters
)


def new_session(
    manager: WebsocketSessionManager, script_path: str, session_id: str, *, is_hello: bool
) -> FleetAppSession:
    """A session that nobody knows of, not even the session manager."""
    script_data = ScriptData(script_path, is_hello=is_hello)
    core = Core(client_state=ClientState())
    return adopt(streamlit_compat_content.build_session(manager, script_data, session_id, core))


def add_script_folder(script_path: str) -> None:
    """Let the script import its neighbours, as `streamlit run` does."""
    sys.path.insert(0, str(Path(script_path).parent))
