"""One stream connection from the runner: what WebSockets and HTTP requests have in common."""

from __future__ import annotations

import asyncio
import traceback
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import unquote

from streamfleet_worker.http import HttpStream
from streamfleet_worker.websocket import Opening, SessionLeftError, WebSocketStream
from streamfleet_worker.wire import FrameSplitter, Message, Wire, frame

if TYPE_CHECKING:
    from collections.abc import Callable

    # An ASGI application; see https://asgi.readthedocs.io.
    AsgiApp = Callable[..., Any]

# How Streamlit's page passes what has no header of its own: as protocols after its own, first the
# XSRF token, or this if there is none, then the session that it wants back.
_PROTOCOLS: Final = b"sec-websocket-protocol"
_NO_TOKEN: Final = b"PLACEHOLDER_AUTH_TOKEN"

# From here on it costs less to spare a batch the copying than to have protobuf write it, in bytes.
_WORTH_SPARING: Final = 16 * 1024
# Received but not yet consumed by the app, in bytes: past it the socket isn't read.
_RECEIVE_LIMIT: Final = 256 * 1024


class StreamConnection(asyncio.Protocol):
    """Speaks worker.proto's stream messages and runs the ASGI app for them."""

    def __init__(self, wire: Wire, app: AsgiApp, state: dict[str, Any]) -> None:
        """Serve one WebSocket or request with `app`; `state` comes from its lifespan."""
        self._wire = wire
        self._app = app
        self._state = state
        self._splitter = FrameSplitter()
        self._transport: asyncio.Transport | None = None
        self._stream: WebSocketStream | HttpStream | None = None
        self._task: asyncio.Task[None] | None = None
        self._unread = 0
        self._reading = True
        self._writable = asyncio.Event()
        self._writable.set()
        # What is to be written with what comes next, or soon, and what is to be done if that can't be.
        self._held: list[tuple[bytes, Callable[[], None]]] = []

    # --- asyncio.Protocol -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Handle the runner's messages."""
        for part in self._splitter.feed(data):
            request = self._wire.stream_request(part)
            kind = request.WhichOneof("kind")
            if kind == "open":
                self._open(request.open)
            elif self._stream is not None and kind is not None:
                self._unread += len(part)
                self._stream.on_request(kind, getattr(request, kind), len(part))
        if self._unread > _RECEIVE_LIMIT and self._reading and self._transport is not None:
            self._reading = False
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        """The runner reads slower than the app writes."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The runner has caught up."""
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """The runner has closed the stream: for the app, its client is gone."""
        self._transport = None
        self._writable.set()
        if self._stream is not None:
            self._stream.on_lost()

    # --- for the streams ------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._transport is None or self._transport.is_closing()

    @property
    def unsent_bytes(self) -> int:
        """Bytes written that the runner has not taken yet."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def consumed(self, size: int) -> None:
        """The app has taken a request message of this size."""
        self._unread -= size
        if not self._reading and self._unread <= _RECEIVE_LIMIT // 2:
            self._reading = True
            if self._transport is not None:
                self._transport.resume_reading()

    def send(self, **kind: Message) -> None:
        """Send an event, given as the one keyword of its kind."""
        if self._transport is None:
            return
        data = frame(self._wire.stream_event(**kind))
        if self._held and not self.closed:
            data = b"".join((*(held for held, _ in self._held), data))
            self._held.clear()
        self._transport.write(data)

    def send_soon(self, otherwise: Callable[[], None], **kind: Message) -> None:
        """Send an event that is in no hurry together with the next one, if that comes at once.

        `otherwise` is called if the runner closes the stream before.
        """
        if not self._held:
            asyncio.get_running_loop().call_soon(self._send_held)
        self._held.append((frame(self._wire.stream_event(**kind)), otherwise))

    def _send_held(self) -> None:
        held = self._held.copy()
        self._held.clear()
        if self._transport is None or self._transport.is_closing():
            # What is written from now on is dropped.
            for _, otherwise in held:
                otherwise()
        elif held:
            self._transport.write(b"".join(data for data, _ in held))

    def send_batch(self, messages: list[bytes], size: int) -> None:
        """Send messages of Streamlit's, of this size together in bytes."""
        if size < _WORTH_SPARING:
            self.send(batch=self._wire.message_batch(messages=messages))
        elif self._transport is not None:
            self._send_held()
            self._transport.writelines(self._wire.framed_batch(messages))

    async def writable(self) -> None:
        """Wait until the runner has taken most of what was sent."""
        await self._writable.wait()

    def finish(self) -> None:
        """Close once everything sent is on its way."""
        self._send_held()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close now, dropping what is unsent."""
        if self._transport is not None:
            self._transport.abort()

    # --- the app --------------------------------------------------------------------------

    def _open(self, request: Message) -> None:
        if self._stream is not None:
            return  # Only the first message opens.
        scope = _scope(request)
        scope["state"] = self._state.copy()
        stream = (
            WebSocketStream(self._wire, self, Opening.of(request))
            if request.websocket
            else HttpStream(self._wire, self, request.end_of_body)
        )
        self._stream = stream
        self._task = asyncio.get_running_loop().create_task(self._run(stream, scope))

    async def _run(self, stream: WebSocketStream | HttpStream, scope: dict[str, Any]) -> None:
        stream.enter_task()
        try:
            await self._app(scope, stream.receive, stream.send)
        except SessionLeftError as left:
            # It is found again where it is now.
            assert isinstance(stream, WebSocketStream)
            stream.release(self._wire.released(session_id=str(left)))
        except Exception:  # noqa: BLE001 - the app is anybody's code
            traceback.print_exc()
            stream.on_app_error()
        stream.on_app_done()


def _scope(request: Message) -> dict[str, Any]:
    head = request.head
    secure = head.scheme == "https"
    headers = [(header.name.lower(), header.value) for header in head.headers]
    if request.resume_session_id:
        headers = _resuming(headers, request.resume_session_id)
    scope: dict[str, Any] = {
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": head.http_version,
        "server": (head.server_host, head.server_port),
        "client": (head.client_host, head.client_port),
        "root_path": "",
        "path": unquote(head.raw_path.decode("latin-1")),
        "raw_path": head.raw_path,
        "query_string": head.query,
        "headers": headers,
    }
    if request.websocket:
        scope["type"] = "websocket"
        scope["scheme"] = "wss" if secure else "ws"
        scope["subprotocols"] = [
            entry.strip()
            for name, value in headers
            if name == _PROTOCOLS
            for entry in value.decode("latin-1").split(",")
        ]
        scope["extensions"] = {"websocket.http.response": {}}
    else:
        scope["type"] = "http"
        scope["scheme"] = head.scheme
        scope["method"] = head.method
        scope["extensions"] = {}
    return scope


def _resuming(headers: list[tuple[bytes, bytes]], session_id: str) -> list[tuple[bytes, bytes]]:
    """The headers of a handshake, with this as the session that the browser wants back."""
    protocols = [
        entry.strip()
        for name, value in headers
        if name == _PROTOCOLS
        for entry in value.split(b",")
    ]
    # A browser that names no protocol must not be answered with one.
    first, token, *_ = [*protocols, *(b"", _NO_TOKEN)[len(protocols) :]]
    others = [(name, value) for name, value in headers if name != _PROTOCOLS]
    return [*others, (_PROTOCOLS, b", ".join((first, token, session_id.encode())))]
