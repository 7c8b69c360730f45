"""Every private name of Streamlit that the worker touches, and the check that they are there.

Nothing is patched: classes are subclassed, and what Streamlit hands out is configured. Where a
name begins with an underscore it is used here and in no other module, so that a new Streamlit
release has one place to be compared with.
"""

from __future__ import annotations

import collections
import inspect
import operator
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import streamlit
from streamlit import config
from streamlit.config_option import ConfigOption
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime import app_session
from streamlit.runtime.app_session import AppSession, AppSessionState

from streamfleet_worker.errors import AppCannotRunError

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlit.runtime import Runtime
    from streamlit.web.server.starlette.starlette_app import App

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
        ("config", config, "get_config_options"),
        ("config", config, "_main_script_path"),
    ]
    found = [(f"{owner}.{name}", hasattr(thing, name)) for owner, thing, name in names]
    option = config._config_options_template["server.port"]
    found.append(("ConfigOption._get_val_func", hasattr(option, "_get_val_func")))
    if all(ok for _, ok in found):
        found.append(
            (
                f"AppSession.{handler}()",
                parameters(AppSession._on_scriptrunner_event)
                == parameters(getattr(AppSession, handler)),
            )
        )
    return found


_VALUE_FUNCTION: Final = operator.attrgetter("_get_val_func")


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
    """Set options that the user has not set, now and after each reload of the configuration."""

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


class FleetAppSession(AppSession):
    """An `AppSession` whose messages leave in batches, as soon as they are made.

    Not constructed: `adopt` turns a session that Streamlit's session manager made into one.
    """

    _fleet_events: collections.deque[tuple[tuple[Any, ...], dict[str, Any]]]
    _fleet_drain_scheduled: bool

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

    # Streamlit wakes the event loop once for each message of a script. Once for as many as
    # there are is enough: while the script holds the interpreter, the loop couldn't run anyway.
    def _on_scriptrunner_event(self, *args: Any, **kwargs: Any) -> None:
        self._fleet_events.append((args, kwargs))
        if self._fleet_drain_scheduled:
            return
        self._fleet_drain_scheduled = True
        try:
            self._event_loop.call_soon_threadsafe(self._drain_events)
        except RuntimeError:
            # Streamlit, too, drops events that come after the loop's end.
            if not self._event_loop.is_closed():
                raise

    def _drain_events(self) -> None:
        # Cleared first: an event that comes from now on schedules another drain, which at worst
        # finds nothing to do.
        self._fleet_drain_scheduled = False
        events = self._fleet_events
        while events:
            args, kwargs = events.popleft()
            try:
                self._handle_scriptrunner_event_on_event_loop(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 - handed to the loop
                # One event's failure must not take the ones behind it along.
                self._event_loop.call_exception_handler(
                    {"message": "a script event could not be handled", "exception": error}
                )

    def _create_new_session_message(self, *args: Any, **kwargs: Any) -> ForwardMsg:
        build = super()._create_new_session_message
        return _new_session_messages.create(self, build, args, kwargs)


def adopt(session: AppSession, on_messages: Callable[[], None]) -> FleetAppSession:
    """Make the session's messages leave through `on_messages` instead of the runtime's loop."""
    session.__class__ = FleetAppSession
    assert isinstance(session, FleetAppSession)
    if not hasattr(session, "_fleet_events"):
        session._fleet_events = collections.deque()
        session._fleet_drain_scheduled = False
    session._message_enqueued_callback = on_messages
    watcher = session._local_sources_watcher
    if watcher is not None and config.get_option("server.fileWatcherType") == "none":
        # Even then it looks at every imported module after a session's first run, and again when
        # the browser comes back: a tenth of a second each, during which nobody is served.
        watcher.close()
        session._local_sources_watcher = None
    return session


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


class _NewSessionMessages:
    """Builds `new_session` messages without walking the whole configuration each time.

    Streamlit reads every theme option six times for each run of a script, which is a quarter of
    what a small app costs. The outcome changes only with the configuration, so it is kept, and
    thrown away when any option has another value (themes do get switched from scripts).
    """

    def __init__(self) -> None:
        self._template: ForwardMsg | None = None
        self._fingerprint: list[Any] = []
        self._options: dict[str, ConfigOption] | None = None
        self._option_list: list[ConfigOption] = []
        names = list(inspect.signature(AppSession._create_new_session_message).parameters)[1:]
        self._run_argument = names[1] if len(names) == 3 else None
        self._usable = names[:1] == ["page_script_hash"] and self._run_argument in {
            "run_descriptor",  # 1.67
            "fragment_ids_this_run",  # 1.57
        }

    def create(
        self,
        session: FleetAppSession,
        build: Callable[..., ForwardMsg],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> ForwardMsg:
        if not self._usable:
            return build(*args, **kwargs)
        fingerprint = self._config_values()
        if self._template is not None and fingerprint == self._fingerprint:
            return self._fill(session, self._template, *args, **kwargs)

        message = build(*args, **kwargs)
        template = self._strip(message)
        # Proof on the spot that a message built from the template says the same. A version of
        # Streamlit that added something per run is served slower, not wrongly.
        if self._same(self._fill(session, template, *args, **kwargs), message):
            self._template, self._fingerprint = template, fingerprint
        else:
            self._usable = False
        return message

    def _config_values(self) -> list[Any]:
        options = config.get_config_options()
        if options is not self._options:
            self._options, self._option_list = options, list(options.values())
        # Setting an option replaces the function that gives its value. Comparing those takes
        # microseconds; asking each of some 250 options for its value is what is to be avoided.
        return list(map(_VALUE_FUNCTION, self._option_list))

    def _fill(
        self,
        session: FleetAppSession,
        template: ForwardMsg,
        page_script_hash: str,
        run: Any = None,
        pages: Any = None,
        **kwargs: Any,
    ) -> ForwardMsg:
        message = ForwardMsg()
        message.CopyFrom(template)
        run = kwargs.get(str(self._run_argument), run)
        new = message.new_session
        if self._run_argument == "run_descriptor":
            app_session._set_run_identity(message, run)
        else:
            # By name, since the newest versions have neither.
            draw_id = vars(app_session)["_generate_scriptrun_id"]
            setattr(new, "script_run_id", draw_id())  # noqa: B010
            getattr(new, "fragment_ids_this_run").extend(run or ())  # noqa: B009
        new.name = session._script_data.name
        new.main_script_path = session._pages_manager.main_script_path
        new.main_script_hash = session._pages_manager.main_script_hash
        new.page_script_hash = page_script_hash
        session._populate_app_pages(new, pages or session._pages_manager.get_pages())
        first = new.initialize
        first.session_status.run_on_save = session._run_on_save
        first.session_status.script_is_running = is_running(session)
        first.session_id = session.id
        if hasattr(session, "_compute_skills_nudge_state"):
            recommend, reason = session._compute_skills_nudge_state()
            first.recommend_skills_install = recommend
            first.skills_nudge_suppressed_reason = reason
        return message

    @staticmethod
    def _strip(message: ForwardMsg) -> ForwardMsg:
        template = ForwardMsg()
        source, kept = message.new_session, template.new_session
        for holder, target, names in (
            (source, kept, ("config", "custom_theme")),
            (source.initialize, kept.initialize, ("user_info", "environment_info")),
        ):
            for name in names:
                if holder.HasField(name):  # type: ignore[arg-type]
                    getattr(target, name).CopyFrom(getattr(holder, name))
        kept.initialize.is_hello = source.initialize.is_hello
        return template

    @staticmethod
    def _same(one: ForwardMsg, other: ForwardMsg) -> bool:
        def comparable(message: ForwardMsg) -> bytes:
            copy = ForwardMsg()
            copy.CopyFrom(message)
            clear: Any = copy.new_session.ClearField
            if "script_run_id" in copy.new_session.DESCRIPTOR.fields_by_name:
                clear("script_run_id")  # drawn anew by each of the two
            return copy.SerializeToString(deterministic=True)

        return comparable(one) == comparable(other)


_new_session_messages = _NewSessionMessages()


def add_script_folder(script_path: str) -> None:
    """Let the script import its neighbours, as `streamlit run` does."""
    sys.path.insert(0, str(Path(script_path).parent))
