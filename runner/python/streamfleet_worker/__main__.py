"""The life of a worker: be told what to host, host it, end.

Standard input is the control connection. It is moved away before anything else runs, so that
an app that reads its input finds it empty, as under a service manager.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, NoReturn

from streamfleet_worker.output import Output
from streamfleet_worker.wire import BlockingReader, Wire, frame

if TYPE_CHECKING:
    from streamfleet_worker.wire import Message

# Linux's prctl option that has the kernel kill this process when its parent is gone.
_PR_SET_PDEATHSIG = 1


def main() -> NoReturn:
    """Run the worker; never returns."""
    control = _take_control_socket()
    _die_with_parent()
    reader = BlockingReader(control)
    wire = Wire(reader.read())
    init = wire.control_request(reader.read()).init

    if init.packages_path:
        # Last, so that the user's own versions win.
        sys.path.append(init.packages_path)
    output = Output()
    if init.forward_output:
        output.install()
    try:
        status = _serve(wire, control, init, output)
    except Exception as error:  # noqa: BLE001 - the app's own code is among what may fail
        _report_fatal(wire, control, error)
        status = 1
    output.close()
    _end(status)


def _serve(wire: Wire, control: socket.socket, init: Message, output: Output) -> int:
    # Imported here, so that a Streamlit that is missing or too old is reported, not printed.
    from streamfleet_worker import server

    loop: asyncio.AbstractEventLoop
    try:
        import uvloop
    except ImportError:
        loop = asyncio.new_event_loop()
    else:
        loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop.run_until_complete(server.serve(wire, control, init, output))


def _take_control_socket() -> socket.socket:
    control = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return control


def _die_with_parent() -> None:
    # A script stuck in C code can't notice that the control connection closed.
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _report_fatal(wire: Wire, control: socket.socket, error: Exception) -> None:
    from streamfleet_worker.errors import AppCannotRunError, describe

    if not isinstance(error, AppCannotRunError):
        import traceback

        traceback.print_exc()
    event = wire.control_event(fatal=wire.fatal(message=describe(error)))
    with contextlib.suppress(OSError):  # The runner may be gone; so are we, then.
        control.setblocking(True)
        control.sendall(frame(event))


def _end(status: int) -> NoReturn:
    """Leave without waiting for scripts that still run, but with all output written."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
