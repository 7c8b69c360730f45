"""What the workers' shared cache is asked: values, and the right to compute one (see calls.proto)."""

from __future__ import annotations

import dataclasses
import logging
import time
from typing import TYPE_CHECKING, Final

from streamfleet_worker.cache_clears import Clears
from streamfleet_worker.cache_uses import Uses
from streamfleet_worker.calls import CallFailedError
from streamfleet_worker.runs import current_context
from streamfleet_worker.seldom import Seldom

if TYPE_CHECKING:
    from streamfleet_worker.cache_stamps import Seen, Stamps
    from streamfleet_worker.calls import Call, Calls
    from streamfleet_worker.wire import Message

_UNAVAILABLE = Seldom(
    logging.getLogger(__name__), "The shared cache is unavailable: %s; computing here"
)
_NOT_SHARED = Seldom(logging.getLogger(__name__), "A computed value is not shared: %s")

# How long an answer may take, storing a value, and sending or receiving it by its length, in
# seconds and bytes.
_ANSWER_LIMIT: Final = 10.0
_PUT_LIMIT: Final = 30.0
_BYTES_PER_SECOND: Final = 10_000_000
# How long a thread may be deaf to an interruption while it waits, in seconds.
_SLICE: Final = 0.5


@dataclasses.dataclass(frozen=True, slots=True)
class Value:
    """What somebody has computed, and how long it may be used, in seconds."""

    data: bytes
    remaining: float | None


class SharedCache:
    """The cache that the runners of a cluster keep for their workers."""

    def __init__(self, calls: Calls, stamps: Stamps, max_value_bytes: int) -> None:
        """Share no value larger than `max_value_bytes`."""
        self.calls = calls
        self.stamps = stamps
        self.max_value_bytes = max_value_bytes
        self.uses = Uses(calls)
        self.clears = Clears(calls)

    def get(self, function: Message, key: str) -> Value | None:
        """What others have of a function; nothing if that can't be told."""
        try:
            with self.calls.open(_ANSWER_LIMIT) as call:
                wire = self.calls.wire
                request = wire.get_value(function=function, key=key, trace=current_context())
                call.send(get_value=request)
                answer = call.receive()
                if answer.WhichOneof("kind") == "value":
                    return receive_value(call, answer.value)
        except CallFailedError as error:
            self.failed(error)
        return None

    def failed(self, error: CallFailedError) -> None:
        """The cache could not be asked."""
        _UNAVAILABLE.warn(error)


class Claim:
    """A claim to compute a value: a place in a queue at first, and then the right."""

    def __init__(
        self,
        shared: SharedCache,
        function: Message,
        key: str,
        *,
        seen: Seen,
        owner: str,
        nested: bool = False,
        fresh: float | None = None,
    ) -> None:
        """Claim; `seen` are the stamps from before.

        With `fresh` only the right is wanted, at once or not at all; or a value that may be used
        for longer than so many seconds.
        """
        self.seen = seen
        self.owner = owner
        self._shared = shared
        self._wire = shared.calls.wire
        self._call = shared.calls.open(_ANSWER_LIMIT)
        request = self._wire.claim_value(
            function=function,
            key=key,
            owner=owner,
            nested=nested,
            wait=fresh is None,
            anew=fresh is not None,
            fresh_ms=int((fresh or 0) * 1000),
            trace=current_context(),
        )
        try:
            self._call.send(claim_value=request)
        except BaseException:
            self._call.close()
            raise
        # Whether what is computed is of use to others; known when the right is granted.
        self.is_shared = False

    def outcome(self, deadline: float | None) -> str | Value | None:
        """Wait for a value, `granted` or `busy`; None if there is nothing by then.

        Raises `CallFailedError` when there will be nothing.
        """
        while True:
            left = _SLICE if deadline is None else deadline - time.monotonic()
            if self._call.arrives(min(left, _SLICE)):
                break
            if left <= 0:
                return None
        self._call.extend(_ANSWER_LIMIT)
        answer = self._call.receive()
        kind: str = answer.WhichOneof("kind")
        if kind == "value":
            return receive_value(self._call, answer.value)
        if kind == "granted":
            self.is_shared = answer.granted.shared
            self._call.send(taken=self._wire.taken())
        return kind

    def put(self, data: bytes) -> None:
        """Fulfil the claim. What fails is only logged: the value is computed, after all."""
        self._shared.uses.report()
        try:
            self._call.extend(_PUT_LIMIT + len(data) / _BYTES_PER_SECOND)
            self._call.send(put_value=self._wire.put_value(size=len(data)))
            self._call.send_raw(data)
            self._call.receive()
        except CallFailedError as error:
            _NOT_SHARED.warn(error)
        finally:
            self.close()

    def close(self) -> None:
        """Give the claim up, if it isn't fulfilled."""
        self._call.close()


def receive_value(call: Call, head: Message) -> Value:
    """The value that follows its message."""
    call.extend(_ANSWER_LIMIT + head.size / _BYTES_PER_SECOND)
    data = call.receive_raw(head.size)
    return Value(data, head.remaining_ms / 1000 if head.remaining_ms else None)
