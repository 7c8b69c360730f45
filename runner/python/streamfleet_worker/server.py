"""Serves the app to the runner, from start to stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import platform
import resource
import sys
from typing import TYPE_CHECKING, Any

import streamlit
from streamlit import config
from streamlit.runtime.runtime_util import get_max_message_size_bytes
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from streamfleet_worker import streamlit_compat
from streamfleet_worker.app import build_app
from streamfleet_worker.control import Control
from streamfleet_worker.lifespan import Lifespan
from streamfleet_worker.runs import belonging
from streamfleet_worker.stream import StreamConnection
from streamfleet_worker.uploads import HeldUploads

if TYPE_CHECKING:
    import socket

    from streamfleet_worker.output import Output
    from streamfleet_worker.wire import Message, Wire

# Streamlit's own default for how often a WebSocket is pinged, in seconds.
_DEFAULT_PING_SECONDS = 30
# How many more objects have been made than are gone when Python looks for garbage among the newest.
_OBJECTS_BEFORE_COLLECTION = 10_000


async def serve(wire: Wire, control_socket: socket.socket, init: Message, output: Output) -> int:
    """Serve the app until the runner says stop or is gone; returns the exit status.

    Raises `AppCannotRunError` when the app, its configuration or this Streamlit won't do.
    """
    _allow_many_connections()
    streamlit_compat.check_streamlit()
    script_path = init.script_path or _hello_script()
    flag_values = streamlit_compat.load_options(script_path, list(init.streamlit_flags))
    streamlit_compat.override_options(
        {
            # A full collection after every run is most of what a click costs; see load.py.
            "runner.postScriptGC": False,
            # As many as without it; but then Python asks the system how many processors there are
            # for each run, which is a twentieth of what a small one costs.
            "runner.parallelMaxWorkers": min(32, (os.cpu_count() or 1) + 4),
            "server.cookieSecret": init.cookie_secret,
            **({} if init.watch_sources else {"server.fileWatcherType": "none"}),
        }
    )
    streamlit_compat.add_script_folder(script_path)
    sys.argv = [script_path, *init.script_args]
    streamlit_compat.watch_config_files(flag_values)

    control = await Control.open(wire, control_socket)
    output.connect(wire, control, asyncio.get_running_loop(), belonging)
    control.on("listening", lambda request: _set_public_port(request.port))
    app = build_app(wire, control, script_path, init)
    lifespan = Lifespan(app)
    await lifespan.startup()

    # As uvicorn does for Streamlit: a proxy on this machine may speak for the browser.
    trusted = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1")
    asgi: Any = ProxyHeadersMiddleware(HeldUploads(app), trusted_hosts=trusted)
    server = await asyncio.get_running_loop().create_unix_server(
        lambda: StreamConnection(wire, asgi, lifespan.state), path=init.listen_path, backlog=1024
    )
    # What is loaded by now stays; collections needn't look at it again.
    gc.collect()
    gc.freeze()
    _collect_less_often()
    control.send(ready=_ready(wire))
    await control.stop_requested.wait()

    server.close()
    await control.say_last()
    await lifespan.shutdown()
    await control.close()
    return 0


def _hello_script() -> str:
    from streamlit.hello import streamlit_app

    assert streamlit_app.__file__ is not None
    return streamlit_app.__file__


def _allow_many_connections() -> None:
    """Raise the limit of open files to the hard limit: each session is one connection."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Some systems cap it lower than they say; the soft limit then stays.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _collect_less_often() -> None:
    """Let more objects be made between two collections, unless the app has said how many.

    Python's default is for programs of a few megabytes: a dashboard's run has it look hundreds of
    times for garbage that isn't there, for a tenth of its time. Once the worker is idle it looks
    anyway; see load.py.
    """
    first, *others = gc.get_threshold()
    if 0 < first < _OBJECTS_BEFORE_COLLECTION:
        gc.set_threshold(_OBJECTS_BEFORE_COLLECTION, *others)


def _set_public_port(port: int) -> None:
    streamlit_compat.override_options({"server.port": port})


def _ready(wire: Wire) -> Message:
    return wire.ready(
        streamlit_version=streamlit.__version__,
        python_version=platform.python_version(),
        settings=wire.app_settings(
            base_url_path=(config.get_option("server.baseUrlPath") or "").strip("/"),
            max_message_bytes=get_max_message_size_bytes(),
            websocket_ping_seconds=int(
                config.get_option("server.websocketPingInterval") or _DEFAULT_PING_SECONDS
            ),
        ),
        listen=wire.listen_settings(
            port=int(config.get_option("server.port")),
            port_chosen=config.is_manually_set("server.port"),
            address=config.get_option("server.address") or "",
            browser_address=(
                config.get_option("browser.serverAddress")
                if config.is_manually_set("browser.serverAddress")
                else ""
            ),
            browser_port=(
                int(config.get_option("browser.serverPort"))
                if config.is_manually_set("browser.serverPort")
                else 0
            ),
            headless=bool(config.get_option("server.headless")),
            hide_welcome=bool(config.get_option("logger.hideWelcomeMessage")),
            ssl_cert_file=config.get_option("server.sslCertFile") or "",
            ssl_key_file=config.get_option("server.sslKeyFile") or "",
        ),
        notices=_notices(),
    )


def _notices() -> list[str]:
    notices = []
    if type(asyncio.get_running_loop()).__module__.split(".")[0] != "uvloop":
        notices.append("uvloop is not installed: clicks take longer and use more CPU.")
    slow = streamlit_compat.slow_paths()
    if slow:
        notices.append(
            f"Streamlit {streamlit.__version__} has changed inside ({', '.join(slow)}): clicks take"
            " longer and use more CPU."
        )
    if config.get_option("server.enableWebsocketCompression"):
        notices.append("server.enableWebsocketCompression has no effect yet.")
    return notices
