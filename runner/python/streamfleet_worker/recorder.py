"""What of a session's values has changed since its last snapshot."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

from streamlit.logger import get_logger

from streamfleet_worker.values import SCALARS, Pickled, UnsavableError, dump, type_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_LOGGER: Final = get_logger(__name__)

# No limit, for all purposes.
_UNLIMITED: Final = 1 << 62
# A value whose pickling failed after this long, in seconds, isn't tried again every time, as long
# as it is the same object; but now and then, since it may have changed within.
_SLOW_FAILURE: Final = 0.005
_TRIES_LEFT_OUT: Final = 32


@dataclasses.dataclass(frozen=True, slots=True)
class Unsaved:
    """An entry that can't be kept, with its type in full, and why in a few words."""

    key: str
    type: str
    reason: str


_NOT_KEPT: Final = object()


@dataclasses.dataclass(slots=True)
class _Entry:
    """A value as of a snapshot."""

    # Of a scalar the value; of a value that failed slowly the object.
    value: Any
    digest: bytes
    size: int
    unsaved: Unsaved | None = None
    # How many more times it isn't tried.
    left_out: int = 0


@dataclasses.dataclass(slots=True)
class Changes:
    """What a snapshot has to say about values."""

    changed: list[tuple[str, bytes]]
    removed: list[str]
    # All of them, not only new ones.
    unsaved: list[Unsaved]
    # Whether `unsaved` is another than in the last snapshot.
    unsaved_changed: bool
    entries: dict[str, _Entry]


class Recorder:
    """Remembers the values of one session's last snapshot, by digest."""

    def __init__(self, session_id: str, limit: int, clock: Callable[[], float]) -> None:
        """Values together may take `limit` bytes; 0 for no limit."""
        self._session_id = session_id
        self._limit = limit or _UNLIMITED
        self._clock = clock
        self._entries: dict[str, _Entry] = {}
        # Entries that are missing from the start; they stay so until their keys are set again.
        self._lost: dict[str, Unsaved] = {}
        self._told: set[str] = set()
        self._told_of_limit = False

    def note_lost(self, lost: Unsaved) -> None:
        """An entry of the session before didn't come back."""
        self._lost[lost.key] = lost

    def compare(self, values: Mapping[str, Any], *, full: bool) -> Changes:
        """What has changed in `values`, or all of them. Callable from any thread, one at a time.

        Nothing is remembered until `commit`.
        """
        entries: dict[str, _Entry] = {}
        pickles: dict[str, Pickled] = {}
        for key, value in values.items():
            known = self._entries.get(key)
            if type(value) in SCALARS:
                entries[key] = self._scalar(key, value, known, pickles)
            else:
                entries[key] = self._object(key, value, known, pickles)
        self._enforce_limit(entries, values)

        changed: list[tuple[str, bytes]] = []
        for key, entry in entries.items():
            known = self._entries.get(key)
            if entry.unsaved is not None or (
                not full
                and known is not None
                and known.unsaved is None
                and known.digest == entry.digest
            ):
                continue
            pickled = pickles.get(key) or dump(values[key], self._limit)
            changed.append((key, pickled.to_bytes()))
        removed = [
            key
            for key, known in self._entries.items()
            if known.unsaved is None and (key not in entries or entries[key].unsaved is not None)
        ]
        unsaved = [entry.unsaved for entry in entries.values() if entry.unsaved is not None]
        unsaved += [lost for key, lost in self._lost.items() if key not in entries]
        before = [entry.unsaved for entry in self._entries.values() if entry.unsaved is not None]
        before += [lost for key, lost in self._lost.items() if key not in self._entries]
        return Changes(
            changed=changed,
            removed=[] if full else removed,
            unsaved=unsaved,
            unsaved_changed=unsaved != before,
            entries=entries,
        )

    def commit(self, changes: Changes) -> None:
        """The changes are on their way."""
        self._entries = changes.entries
        for key in changes.entries.keys() & self._lost.keys():
            del self._lost[key]
        for unsaved in changes.unsaved:
            if unsaved.key not in self._told:
                self._told.add(unsaved.key)
                _LOGGER.warning(
                    "st.session_state[%r] (%s) will be missing when session %s goes on in another"
                    " process: %s. Keep what it is made from instead, and make it in a function"
                    " with @st.cache_resource.",
                    unsaved.key,
                    unsaved.type,
                    self._session_id,
                    unsaved.reason,
                )

    def _scalar(
        self, key: str, value: Any, known: _Entry | None, pickles: dict[str, Pickled]
    ) -> _Entry:
        if (
            known is not None
            and type(known.value) is type(value)
            and (known.value is value or (known.value == value and not _is_zero(value)))
        ):
            # What didn't fit may fit now.
            didnt_fit = known.unsaved is not None and known.digest
            return dataclasses.replace(known, unsaved=None) if didnt_fit else known
        return self._pickle(key, value, value, pickles)

    def _object(
        self, key: str, value: Any, known: _Entry | None, pickles: dict[str, Pickled]
    ) -> _Entry:
        if known is not None and known.left_out > 0 and known.value is value:
            return dataclasses.replace(known, left_out=known.left_out - 1)
        return self._pickle(key, value, _NOT_KEPT, pickles)

    def _pickle(self, key: str, value: Any, kept: Any, pickles: dict[str, Pickled]) -> _Entry:
        started = self._clock()
        try:
            pickled = dump(value, self._limit)
            digest = pickled.digest()
        except UnsavableError as error:
            entry = _Entry(kept, b"", 0, Unsaved(key, type_name(value), str(error)))
            if self._clock() - started > _SLOW_FAILURE:
                entry.value, entry.left_out = value, _TRIES_LEFT_OUT
            return entry
        pickles[key] = pickled
        return _Entry(kept, digest, pickled.size)

    def _enforce_limit(self, entries: dict[str, _Entry], values: Mapping[str, Any]) -> None:
        """Leave out the largest values until the rest is within the limit."""
        total = sum(entry.size for entry in entries.values())
        if total <= self._limit:
            return
        if not self._told_of_limit:
            self._told_of_limit = True
            _LOGGER.warning(
                "The values in st.session_state of session %s take %.3g MB when pickled, and"
                " %.3g MB are kept for when it goes on in another process. The largest are left"
                " out. Keep large data in functions with @st.cache_data, or allow more with"
                " max_snapshot_bytes.",
                self._session_id,
                total / 1e6,
                self._limit / 1e6,
            )
        for key in sorted(entries, key=lambda key: entries[key].size, reverse=True):
            if total <= self._limit:
                break
            entry = entries[key]
            total -= entry.size
            reason = f"larger than what is left of {self._limit / 1e6:.3g} MB ({entry.size / 1e6:.3g} MB)"
            unsaved = Unsaved(key, type_name(values[key]), reason)
            entries[key] = dataclasses.replace(entry, unsaved=unsaved)


def _is_zero(value: Any) -> bool:
    # 0.0 and -0.0 are equal, and not the same.
    return isinstance(value, float | complex) and value == 0


def is_plain(values: Mapping[str, Any]) -> bool:
    """Whether pickling these is sure to run nobody's code but Python's own, on the outside."""
    return all(type(value) in _PLAIN for value in values.values())


_PLAIN: Final = SCALARS | {list, dict, tuple, set, frozenset, bytearray}
