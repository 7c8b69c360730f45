"""Tries the app: runs its script once, in a session that is none.

Nobody is told of it, nothing of it is kept, and it is gone when the answer is sent.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any, Final

from streamlit.proto.ClientState_pb2 import ClientState

from streamfleet_worker import streamlit_compat
from streamfleet_worker.runs import Asked, Outcome, Reason, SessionRuns, now_us

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamfleet_worker.sessions import SessionEvents
    from streamfleet_worker.streamlit_compat import FleetAppSession
    from streamfleet_worker.wire import Message, Wire

# How much of an exception's message is told, in characters.
_MESSAGE: Final = 2000
_FAILURES: Final = (Outcome.EXCEPTION, Outcome.COMPILE_ERROR)


class Probes:
    """Runs the script when asked to."""

    def __init__(
        self,
        wire: Wire,
        tell: Callable[..., None],
        events: SessionEvents,
        script_path: str,
        *,
        is_hello: bool,
    ) -> None:
        """Answer by `tell`."""
        self._wire = wire
        self._tell = tell
        self._events = events
        self._script_path = script_path
        self._is_hello = is_hello

    def start(self, number: int, limit: float) -> None:
        """Run the script, for no longer than `limit` seconds, and answer with this number."""
        try:
            session = streamlit_compat.new_session(
                self._events.sessions,
                self._script_path,
                str(uuid.uuid4()),
                is_hello=self._is_hello,
            )
            probe = _Probe(self._wire, session, number, self._answer)
            probe.start(limit)
        except Exception as error:  # noqa: BLE001 - whoever asked is to know
            self._answer(
                self._wire.probed(
                    number=number, exception_type=type(error).__name__, message=str(error)
                )
            )

    def _answer(self, probed: Message) -> None:
        self._tell(probed=probed)


class _Probe:
    """One try. The `SessionListener` of its session."""

    def __init__(
        self,
        wire: Wire,
        session: FleetAppSession,
        number: int,
        answer: Callable[[Message], None],
    ) -> None:
        self._session = session
        self._answer = answer
        self._probed = wire.probed(number=number)
        self._began_us = now_us()
        self._is_over = False
        session.listener = self
        session.runs = SessionRuns(wire, session.id, self._note)

    def start(self, limit: float) -> None:
        self._limit = asyncio.get_running_loop().call_later(limit, self._on_limit)
        asked = Asked(at_us=self._began_us, reason=Reason.OPENED)
        self._session.run(ClientState(), asked)

    def on_messages(self) -> None:
        """Nobody is to see them; those that are of use are taken at the end."""

    def before_run(self, client_state: ClientState | None, asked: Asked) -> bool:
        """No run is left out."""
        return False

    def on_run_over(self) -> None:
        """A run is over; the script may have asked for another."""
        assert self._session.runs is not None
        self._session.runs.report()

    def on_rest(self) -> None:
        """The script has come to rest."""
        self.on_run_over()
        if self._probed.exception_type:
            self._probed.message = _message_of(self._session.take_messages())[:_MESSAGE]
        self._finish()

    def _note(self, run: Message) -> None:
        if run.outcome in _FAILURES:
            self._probed.exception_type = run.exception_type or "Exception"

    def _on_limit(self) -> None:
        self._probed.timed_out = True
        self._finish()

    def _finish(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._limit.cancel()
        self._session.listener = None
        # Stops the script, and forgets its files.
        self._session.shutdown()
        self._probed.run_us = now_us() - self._began_us
        self._answer(self._probed)


def _message_of(messages: list[Any]) -> str:
    """What the exception said that was shown last."""
    for message in reversed(messages):
        kind = message.WhichOneof("type")
        if kind == "session_event":
            # A script that can't even be compiled.
            return str(message.session_event.script_compilation_exception.message)
        if kind != "delta":
            continue
        element = message.delta.new_element
        if element.WhichOneof("type") == "exception":
            return str(element.exception.message)
    return ""
