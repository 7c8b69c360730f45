"""Builds the ASGI app: Streamlit's own, around a runtime made of Streamlit's parts and ours."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamlit import config
from streamlit.runtime import Runtime, RuntimeConfig
from streamlit.web.bootstrap import prepare_streamlit_environment
from streamlit.web.cache_storage_manager_config import create_default_cache_storage_manager
from streamlit.web.server.server import MEDIA_ENDPOINT, UPLOAD_FILE_ENDPOINT
from streamlit.web.server.starlette.starlette_app import App, create_starlette_app

from streamfleet_worker import streamlit_compat
from streamfleet_worker.cache_manager import share_cache
from streamfleet_worker.calls import Calls
from streamfleet_worker.errors import AppCannotRunError
from streamfleet_worker.load import LoadReporter, look_after, resident_bytes
from streamfleet_worker.media import FleetMediaStorage
from streamfleet_worker.probe import Probes
from streamfleet_worker.runaways import Runaways
from streamfleet_worker.sessions import FleetSessionStorage, SessionEvents, session_manager_class
from streamfleet_worker.turns import Turns
from streamfleet_worker.uploads import FleetUploadedFileManager

if TYPE_CHECKING:
    from streamlit.runtime.caching.storage import CacheStorageManager

    from streamfleet_worker.control import Control
    from streamfleet_worker.wire import Message, Wire


def build_app(wire: Wire, control: Control, script_path: str, init: Message) -> Any:
    """The ASGI app for this script, or for the `st.App` that it defines.

    Raises `AppCannotRunError` when the script defines something that can't be hosted.
    """
    app = streamlit_compat.find_asgi_app(Path(script_path))
    if app is None:
        prepare_streamlit_environment(script_path)
        is_hello = not init.script_path
        return create_starlette_app(
            _build_runtime(wire, control, script_path, init, is_hello=is_hello)
        )
    if not isinstance(app, App):
        raise AppCannotRunError(
            f"{script_path} defines a {type(app).__name__}, and Streamfleet hosts scripts and"
            " st.App. Put the other routes into st.App(routes=[…]), or serve them elsewhere."
        )
    runtime = _build_runtime(
        wire,
        control,
        streamlit_compat.script_of(app),
        init,
        is_hello=False,
        on_script_error=streamlit_compat.error_handler_of(app),
    )
    streamlit_compat.give_runtime(app, runtime)
    return app


def _build_runtime(
    wire: Wire,
    control: Control,
    script_path: str,
    init: Message,
    *,
    is_hello: bool,
    on_script_error: Any | None = None,
) -> Runtime:
    def report() -> None:
        control.send(load=_load(wire, events, load.take_lag_us()))

    def stuck(session_id: str, run_ms: int) -> None:
        control.send(stuck=wire.stuck(session_id=session_id, run_ms=run_ms))

    def stored(file_id: str) -> None:
        control.send(media_stored=wire.media_stored(file_id=file_id))

    def removed(file_id: str) -> None:
        control.send(media_removed=wire.media_removed(file_id=file_id))

    load = LoadReporter(report)
    runaways = Runaways(init.run_timeout_ms / 1000, stuck) if init.run_timeout_ms else None
    events = SessionEvents(
        wire,
        control.send,
        load,
        max_snapshot_bytes=init.max_snapshot_bytes,
        runs=runaways,
        turns=Turns(init.max_concurrent_runs) if init.max_concurrent_runs else None,
    )
    calls = Calls(wire, init.calls_path)
    options: dict[str, Any] = {}
    if on_script_error is not None:
        options["on_script_error"] = on_script_error  # newer than 1.57
    runtime = Runtime(
        RuntimeConfig(
            script_path=script_path,
            media_file_storage=FleetMediaStorage(MEDIA_ENDPOINT, stored, removed),
            uploaded_file_manager=FleetUploadedFileManager(UPLOAD_FILE_ENDPOINT, calls),
            cache_storage_manager=_cache_storage_manager(calls, init),
            session_manager_class=session_manager_class(events),
            session_storage=FleetSessionStorage(
                config.get_option("server.disconnectedSessionTTL"), events.ended
            ),
            is_hello=is_hello,
            **options,
        )
    )
    control.on("end_session", lambda request: events.sessions.end_here(request.session_id))
    control.on(
        "release",
        lambda request: events.release(
            request.session_id, now=request.now, only_at_rest=request.only_at_rest
        ),
    )
    control.on("take_snapshot", lambda request: events.take_snapshot(request.session_id))
    probes = Probes(wire, control.send, events, script_path, is_hello=is_hello)
    control.on("probe", lambda request: probes.start(request.number, request.limit_ms / 1000))
    control.on("stop_run", lambda request: events.stop_run(request.session_id))
    control.before_stop.append(events.keep_all)
    # Kept by the runtime's life: all end with the process.
    loop = asyncio.get_running_loop()
    events.background.append(loop.create_task(look_after(load)))
    if runaways is not None:
        events.background.append(loop.create_task(runaways.watch()))
    return runtime


def _cache_storage_manager(calls: Calls, init: Message) -> CacheStorageManager:
    own = create_default_cache_storage_manager()
    if not init.cache_stamps_path:
        return own
    return share_cache(calls, init.cache_stamps_path, init.max_cached_value_bytes, own)


def _load(wire: Wire, events: SessionEvents, loop_lag_us: int) -> Message:
    connected = events.sessions.list_active_sessions()
    everyone = events.sessions.list_sessions()
    return wire.load(
        connected_sessions=len(connected),
        disconnected_sessions=len(everyone) - len(connected),
        running_scripts=sum(streamlit_compat.is_running(info.session) for info in everyone),
        resident_bytes=resident_bytes(),
        loop_lag_us=loop_lag_us,
    )
