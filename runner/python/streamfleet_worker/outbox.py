"""The way out for one connected session's messages."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from streamlit.runtime.runtime_util import serialize_forward_msg

if TYPE_CHECKING:
    from streamfleet_worker.keeper import Keeper
    from streamfleet_worker.load import LoadReporter
    from streamfleet_worker.websocket import WebSocketStream


class Outbox:
    """Sends a session's messages to its browser, as one batch each time."""

    def __init__(self, keeper: Keeper, stream: WebSocketStream, load: LoadReporter) -> None:
        """Nothing is sent until `wake` or `flush` is called."""
        self._keeper = keeper
        self._stream = stream
        self._load = load
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._scheduled = False

    def wake(self) -> None:
        """There are messages. Callable from any thread."""
        if self._scheduled:
            return
        self._scheduled = True
        if threading.get_ident() == self._loop_thread:
            self._loop.call_soon(self.flush)
        else:
            self._loop.call_soon_threadsafe(self.flush)

    def flush(self) -> None:
        """Send what there is, and word of the runs that are over with it."""
        self._scheduled = False
        if self._stream.keeper is not self._keeper:
            return  # Disconnected: messages wait in the session for the next connection.
        session, runs = self._keeper.session, self._keeper.runs
        messages = session.take_messages()
        if messages:
            batch: list[bytes] = []
            if not self._keeper.is_muted:
                batch = [serialize_forward_msg(message) for message in messages]
                self._stream.send_messages(batch)
            runs.sent(messages, batch)
            session.messages_sent()
            self._load.changed()
        runs.report()
