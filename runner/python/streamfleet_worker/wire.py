"""The messages of worker.proto, built from the descriptors that the runner sends, and framing.

No generated code: the classes come from the `protobuf` that Streamlit itself depends on.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

# Message classes are made at run time; their fields are those of worker.proto.
Message = Any

_LENGTH = struct.Struct(">I")
_WORKER = "streamfleet.worker.v1."
_COMMON = "streamfleet.common.v1."
# Protobuf's wire type of what has its length in front.
_LENGTH_DELIMITED = 2


class Wire:
    """Message classes by name. Attributes are constructors taking fields as keywords."""

    def __init__(self, descriptors: bytes) -> None:
        """Build the classes from a serialized `FileDescriptorSet`."""
        files = descriptor_pb2.FileDescriptorSet.FromString(descriptors)
        # A pool of our own: the app may have protobuf files of its own in the default one.
        pool = descriptor_pool.DescriptorPool()
        for file in files.file:
            pool.Add(file)

        def get(name: str) -> Any:
            return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))

        self.control_event = get(_WORKER + "ControlEvent")
        self.ready = get(_WORKER + "Ready")
        self.listen_settings = get(_WORKER + "ListenSettings")
        self.fatal = get(_WORKER + "Fatal")
        self.session_ended = get(_WORKER + "SessionEnded")
        self.media_stored = get(_WORKER + "MediaStored")
        self.media_removed = get(_WORKER + "MediaRemoved")
        self.load = get(_WORKER + "Load")
        self.pong = get(_WORKER + "Pong")
        self.stuck = get(_WORKER + "Stuck")
        self.snapshot = get(_WORKER + "Snapshot")
        self.value = get(_WORKER + "Value")
        self.unsaved = get(_WORKER + "Unsaved")
        self.released = get(_WORKER + "Released")
        self.run_report = get(_WORKER + "RunReport")
        self.printed = get(_WORKER + "Printed")
        self.stream_event = get(_WORKER + "StreamEvent")
        self.end = get(_WORKER + "End")
        self.accepted = get(_COMMON + "Accepted")
        self.session_bound = get(_COMMON + "SessionBound")
        self.message_batch = get(_COMMON + "MessageBatch")
        self.response_head = get(_COMMON + "ResponseHead")
        self.close = get(_COMMON + "Close")
        self.header = get(_COMMON + "Header")
        self.app_settings = get(_COMMON + "AppSettings")
        self.probed = get(_WORKER + "Probed")
        self.unloadable = get(_WORKER + "Unloadable")
        self._control_request = get(_WORKER + "ControlRequest")
        self._stream_request = get(_WORKER + "StreamRequest")

        # calls.proto
        self.call_request = get(_WORKER + "CallRequest")
        self.put_file = get(_WORKER + "PutFile")
        self.get_file = get(_WORKER + "GetFile")
        self.delete_files = get(_WORKER + "DeleteFiles")
        self.cached_function = get(_WORKER + "CachedFunction")
        self.get_value = get(_WORKER + "GetValue")
        self.claim_value = get(_WORKER + "ClaimValue")
        self.taken = get(_WORKER + "Taken")
        self.put_value = get(_WORKER + "PutValue")
        self.clear_values = get(_WORKER + "ClearValues")
        self.values_used = get(_WORKER + "ValuesUsed")
        self.value_used = get(_WORKER + "ValueUsed")
        self._call_response = get(_WORKER + "CallResponse")

        # What begins a batch in an event, and a message in a batch.
        self._batch_tag = _tag(self.stream_event, "batch")
        self._message_tag = _tag(self.message_batch, "messages")

    def framed_batch(self, messages: list[bytes]) -> list[bytes]:
        """A `StreamEvent` that is a batch of these messages, framed, in pieces.

        Written by hand, because most of what a worker sends are these. A message of some megabytes would
        be copied five times on its way into a frame; here it is a piece as it is.
        """
        pieces = [b""]
        size = 0
        for message in messages:
            head = self._message_tag + _varint(len(message))
            pieces += (head, message)
            size += len(head) + len(message)
        head = self._batch_tag + _varint(size)
        pieces[0] = _LENGTH.pack(len(head) + size) + head
        return pieces

    def control_request(self, data: bytes) -> Message:
        """Parse a message of the control connection."""
        return self._control_request.FromString(data)

    def stream_request(self, data: bytes) -> Message:
        """Parse a message of a stream connection."""
        return self._stream_request.FromString(data)

    def call_response(self, data: bytes) -> Message:
        """Parse an answer to a call."""
        return self._call_response.FromString(data)


def _tag(message_type: Any, field: str) -> bytes:
    """What is in front of a field of variable length."""
    number: int = message_type.DESCRIPTOR.fields_by_name[field].number
    return _varint(number << 3 | _LENGTH_DELIMITED)


def _varint(number: int) -> bytes:
    """Protobuf's way to write numbers: seven bits a byte, the least ones first."""
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def frame(message: Message) -> bytes:
    """The message with its length in front."""
    data: bytes = message.SerializeToString()
    return _LENGTH.pack(len(data)) + data


class FrameSplitter:
    """Cuts a byte stream into frames."""

    def __init__(self) -> None:
        """Start at a frame's beginning."""
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the bytes that came and yield each frame they complete."""
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer, start)
            end = start + _LENGTH.size + length
            if len(buffer) < end:
                break
            yield bytes(buffer[start + _LENGTH.size : end])
            start = end
        del buffer[:start]


class BlockingReader:
    """Reads frames from a blocking socket, before the event loop runs."""

    def __init__(self, source: socket.socket) -> None:
        """Read from `source`, never past the end of a frame."""
        self._source = source

    def read(self) -> bytes:
        """The next frame. Raises `EOFError` when the other side is gone."""
        (length,) = _LENGTH.unpack(self._exactly(_LENGTH.size))
        return self._exactly(length)

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = self._source.recv(size - len(data))
            if not part:
                raise EOFError("the runner closed the connection")
            data += part
        return bytes(data)
