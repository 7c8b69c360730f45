"""One value of `st.session_state` as bytes: pickled so that what didn't change needn't be copied.

The pickle of a value is its bytes in band and any number of buffers out of band (protocol 5):
the memory of arrays and tables, which is hashed where it lies. Only when the value is sent are
they put together:

    0x00  the bytes in band
    0x01  the number of buffers (u32), the length in band and each buffer's (u64 each),
          the bytes in band, the buffers

Numbers are big-endian. Classes and functions of the script go by value, never by name: by the
time they are loaded their module is another session's, or another run's.
"""

from __future__ import annotations

import collections
import hashlib
import io
import pickle
import struct
import types
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn

try:
    import cloudpickle  # type: ignore[import-untyped]
except ImportError:  # Not in the user's environment, and no packages of our own.
    cloudpickle = None

if TYPE_CHECKING:
    from collections.abc import Sequence

_PROTOCOL: Final = 5
_IN_BAND: Final = b"\x00"
_OUT_OF_BAND: Final = b"\x01"
_COUNT: Final = struct.Struct(">I")
# Smaller buffers are copied faster than they are kept apart, in bytes.
_SMALLEST_BUFFER: Final = 4096

# Types whose values can't change and hold nothing else; compared without pickling.
SCALARS: Final = frozenset({type(None), bool, int, float, complex, str, bytes})


class UnsavableError(Exception):
    """A value that can't be kept; the message is the reason in a few words."""


class Pickled:
    """A pickled value that has not been put together yet."""

    __slots__ = ("_buffers", "_in_band", "size")

    def __init__(self, in_band: bytes, buffers: Sequence[memoryview]) -> None:
        """Of the bytes in band and the buffers out of band, which are not copied."""
        self._in_band = in_band
        self._buffers = buffers
        # In bytes, near enough to what is sent.
        self.size = len(in_band) + sum(buffer.nbytes for buffer in buffers)

    def digest(self) -> bytes:
        """The same for the same bytes."""
        # Faster than the others where the processor helps, as most do.
        digest = hashlib.sha256(self._in_band)
        for buffer in self._buffers:
            digest.update(buffer)
        return digest.digest()

    def to_bytes(self) -> bytes:
        """All of it, for `load`."""
        if not self._buffers:
            return _IN_BAND + self._in_band
        lengths = [len(self._in_band), *(buffer.nbytes for buffer in self._buffers)]
        head = _COUNT.pack(len(self._buffers)) + struct.pack(f">{len(lengths)}Q", *lengths)
        return b"".join((_OUT_OF_BAND, head, self._in_band, *self._buffers))


def dump(value: Any, limit: int) -> Pickled:
    """Pickle a value. Raises `UnsavableError` when it can't be, or takes more than `limit` bytes."""
    if type(value) in SCALARS:
        if isinstance(value, str | bytes) and len(value) > limit:
            raise UnsavableError(_too_large(limit))
        return Pickled(pickle.dumps(value, _PROTOCOL), ())
    sink = _Sink(limit)
    try:
        _pickler(sink).dump(value)
    except UnsavableError:
        raise
    except BaseException as error:  # whatever the value's own code raises
        if sink.overflowed:  # cloudpickle may have wrapped what the sink raised.
            raise UnsavableError(_too_large(limit)) from None
        raise UnsavableError(_reason(error)) from error
    return Pickled(b"".join(sink.parts), sink.buffers)


def load(data: bytes) -> Any:
    """The value again. Raises whatever its own code raises."""
    view = memoryview(data)
    kind = data[:1]
    if kind == _IN_BAND:
        return pickle.loads(view[1:])  # noqa: S301 - the runner has checked who wrote it
    if kind != _OUT_OF_BAND:
        raise ValueError("not a pickled value of this worker's")
    (count,) = _COUNT.unpack_from(view, 1)
    layout = struct.Struct(f">{count + 1}Q")
    in_band, *lengths = layout.unpack_from(view, 1 + _COUNT.size)
    start = 1 + _COUNT.size + layout.size
    end = start + in_band
    # Copied, so that an array can be written to as before.
    buffers = [bytearray(view[(end := end + length) - length : end]) for length in lengths]
    return pickle.loads(  # noqa: S301
        view[start : start + in_band], buffers=buffers
    )


def type_name(value: Any) -> str:
    """The value's type in full."""
    cls = type(value)
    return (
        cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    )


class _Sink:
    """Where a pickler writes to; stops it when there is too much."""

    def __init__(self, limit: int) -> None:
        self.parts: list[bytes] = []
        self.buffers: list[memoryview] = []
        self.overflowed = False
        self._limit = limit
        self._left = limit

    def write(self, data: Any) -> int:
        size = len(data)
        self._take(size)
        self.parts.append(bytes(data))
        return size

    def keep_apart(self, buffer: pickle.PickleBuffer) -> bool:
        """The pickler's question for each buffer: whether to put it in band."""
        try:
            view = buffer.raw()
        except BufferError:
            return True  # Not in one piece.
        if view.nbytes < _SMALLEST_BUFFER:
            return True
        self._take(view.nbytes)
        self.buffers.append(view)
        return False

    def _take(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            self.overflowed = True
            raise UnsavableError(_too_large(self._limit))


def _refuse_file(_: Any) -> NoReturn:
    # cloudpickle would read it, and put a text in its place.
    raise TypeError("cannot pickle an open file")


class _ByNamePickler(pickle.Pickler):
    """Refuses what can only be pickled by value; for when cloudpickle isn't there."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, type | types.FunctionType) and obj.__module__ == "__main__":
            raise UnsavableError(
                f"{obj.__qualname__} is defined in the script, and cloudpickle is not installed"
            )
        return NotImplemented


_pickler_class: Any
if cloudpickle is None:
    _pickler_class = _ByNamePickler
else:

    class _ByValuePickler(cloudpickle.Pickler):  # type: ignore[misc]
        dispatch_table: ClassVar[Any] = collections.ChainMap(
            {io.TextIOWrapper: _refuse_file}, cloudpickle.Pickler.dispatch_table
        )

    _pickler_class = _ByValuePickler


def _pickler(sink: _Sink) -> Any:
    return _pickler_class(sink, protocol=_PROTOCOL, buffer_callback=sink.keep_apart)


def _too_large(limit: int) -> str:
    return f"larger than {limit / 1e6:.3g} MB"


def _reason(error: BaseException) -> str:
    words = str(error).strip().split("\n", 1)[0]
    name = type(error).__name__
    return f"{name}: {words}"[:300] if words else name
