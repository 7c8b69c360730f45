"""What functions under `st.cache_data` have returned: in memory here, and shared by a cluster's workers.

The first level is Streamlit's own cache in memory, with all its limits. Beside each value is noted
what the stamps were before it was asked for; once they are others it is not used any more. What
is missing is asked for at the runner, and what is computed is given to it.
"""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final

from streamlit.runtime.caching.storage import CacheStorageKeyNotFoundError

from streamfleet_worker import streamlit_compat_cache
from streamfleet_worker.cache_calls import Claim, Value
from streamfleet_worker.cache_locks import ComputeLock, Parked
from streamfleet_worker.cache_stamps import ALL, Seen
from streamfleet_worker.runs import current as current_run
from streamfleet_worker.seldom import Seldom
from streamfleet_worker.streamlit_compat_cache import SharedStorage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlit.runtime.caching.storage import CacheStorage

    from streamfleet_worker.cache_calls import SharedCache
    from streamfleet_worker.calls import CallFailedError
    from streamfleet_worker.wire import Message

_UNREADABLE = Seldom(
    logging.getLogger(__name__), "A shared value can't be read: %r; computing it here"
)

# Records of values that memory has given up may be as many as the others, and these.
_SPARE_RECORDS: Final = 256
# Values that can't be read here and are remembered.
_MAX_UNUSABLE: Final = 1000

_now = time.monotonic


class _Record:
    """What is to be known of a value in memory."""

    __slots__ = ("expires", "place", "seen_all", "seen_function", "seen_key")

    def __init__(self, place: int, seen: Seen, expires: float | None) -> None:
        self.place = place
        self.seen_all = seen.all
        self.seen_function = seen.function
        self.seen_key = seen.key
        self.expires = expires


class FleetStorage(SharedStorage):
    """The values of one function."""

    def __init__(
        self,
        shared: SharedCache,
        function: Message,
        memory: CacheStorage,
        ttl: float | None,
    ) -> None:
        """Store in `memory`, Streamlit's, and in `shared`, for `ttl` seconds."""
        self.function_id: str = function.id
        self.lock = threading.RLock()
        # Claims that are waited for in turns, by key, and by owner if it holds others.
        self.parked: dict[tuple[str, str], Parked] = {}
        # A value that may be used for longer than this is fresh, in seconds; if that matters.
        self.fresh_from: float | None = None
        self._shared = shared
        self._function = function
        self._memory = memory
        self._ttl = ttl
        self._numbers = shared.stamps.numbers
        self._place = shared.stamps.place(function.id)
        self._records: dict[str, _Record] = {}
        self._max_records = _SPARE_RECORDS
        self._clears = 0
        # By key; seldom more than one, as when a value was cleared while it was computed.
        self._computing: dict[str, tuple[ComputeLock, ...]] = {}
        self._fetching: dict[str, tuple[Seen, Future[Value | None]]] = {}
        self._unusable: dict[str, None] = {}
        self._uses: dict[str, int] = {}

    # --- for Streamlit ----------------------------------------------------------------------

    def get(self, key: str) -> bytes:
        """The pickled value, from here or from others."""
        record = self._records.get(key)
        if record is not None:
            if self._is_good(record):
                try:
                    data = self._memory.get(key)
                except CacheStorageKeyNotFoundError:
                    pass
                else:
                    uses = self._uses
                    if not uses:
                        self._shared.uses.wake(self)
                    # Put last again: the order is that of the last uses.
                    uses[key] = uses.pop(key, 0) + 1
                    run = current_run()
                    if run is not None:
                        run.cache_hits += 1
                    return data
            else:
                self._drop(key, record)
        value = self._from_others(key)
        if value is None:
            raise CacheStorageKeyNotFoundError(key)
        return value.data

    def has(self, key: str) -> bool:
        """Whether there is a value, or one is being computed that still is to be kept."""
        lock = self._lock_of_mine(key)
        return self.has_value(key) or (lock is not None and lock.may_write)

    def set(self, key: str, value: bytes) -> None:
        """Keep what has been computed, here and for others."""
        lock = self._lock_of_mine(key)
        seen = None if lock is None else lock.seen
        self._unusable.pop(key, None)
        self._keep(key, value, seen or self.look(key), self._ttl)
        if lock is not None:
            lock.put(value)

    def delete(self, key: str) -> None:
        """Forget a value, everywhere."""
        with self.lock:
            if key in self._computing or key in self._fetching or self._is_parked(key):
                # What comes of it is from before, which the stamps tell only once all is done.
                self._clears += 1
            self._records.pop(key, None)
            self._memory.delete(key)
        self._shared.clears.start(self.function_id, key)
        self._shared.clears.wait()

    def clear(self) -> None:
        """Forget all values, everywhere."""
        self.clear_here()
        self._shared.clears.start(self.function_id)
        self._shared.clears.wait()

    def close(self) -> None:
        """Nobody uses this any more."""
        self._memory.close()

    @property
    def stats_families(self) -> Sequence[str]:
        """What `get_stats` tells, for Streamlit's metrics."""
        families: Sequence[str] = getattr(self._memory, "stats_families")  # noqa: B009
        return families

    def get_stats(self, family_names: Sequence[str] | None = None) -> dict[str, Any]:
        """What is in memory here."""
        stats: dict[str, Any] = getattr(self._memory, "get_stats")(family_names)  # noqa: B009
        return stats

    # --- for Streamlit's caches -------------------------------------------------------------

    def compute_lock(self, key: str, local: threading.Lock | None) -> ComputeLock:
        """The lock to hold while a value is computed, around Streamlit's own."""
        return ComputeLock(self, key, local)

    def clear_here(self) -> None:
        """Forget all values in memory, as the session that has them goes on elsewhere."""
        with self.lock:
            self._clears += 1
            self._records.clear()
            self._memory.clear()

    def set_fresh(self, seconds: float | None) -> None:
        """Values are fresh for so long, and may be used for longer while they are refreshed."""
        if seconds is not None and self._ttl is not None:
            self.fresh_from = self._ttl - seconds

    def age(self, key: str) -> float:
        """How long ago the value that `get` gave was computed, in seconds."""
        record = self._records.get(key)
        if record is None or record.expires is None or self._ttl is None:
            return 0.0
        return max(0.0, self._ttl - (record.expires - _now()))

    def cannot_read(self, key: str, error: Exception) -> None:
        """What others have computed is of no use here, as when they have other packages."""
        _UNREADABLE.warn(error)
        with self.lock:
            if len(self._unusable) >= _MAX_UNUSABLE:
                self._unusable.clear()
            self._unusable[key] = None
            self._records.pop(key, None)
            self._memory.delete(key)
            lock = self._lock_of_mine(key)
            if lock is not None:
                lock.value = None

    # --- for locks --------------------------------------------------------------------------

    @property
    def max_value_bytes(self) -> int:
        """A larger value is not for others."""
        return self._shared.max_value_bytes

    def look(self, key: str) -> Seen:
        """What the stamps of a value are."""
        numbers = self._numbers
        return Seen(numbers[ALL], numbers[self._place], numbers[self._place_of(key)], self._clears)

    def is_current(self, key: str, seen: Seen) -> bool:
        """Whether the value has not been cleared since."""
        return self.look(key) == seen

    def has_value(self, key: str) -> bool:
        """Whether the value is in memory and may be used."""
        record = self._records.get(key)
        return (
            record is not None
            and self._is_good(record)
            and streamlit_compat_cache.is_in_memory(self._memory, key)
        )

    def is_stale(self, key: str) -> bool:
        """Whether the value is here and may be used, but should be computed anew."""
        if self.fresh_from is None or not self.has_value(key):
            return False
        record = self._records.get(key)
        return (
            record is not None
            and record.expires is not None
            and record.expires - _now() <= self.fresh_from
        )

    def may_ask(self, key: str) -> bool:
        """Whether others are to be asked for the value."""
        return key not in self._unusable and self._shared.clears.settled(self.function_id)

    def claim(
        self, key: str, seen: Seen, owner: str, *, nested: bool = False, fresh: float | None = None
    ) -> Claim:
        """Claim the computation of a value. Raises `CallFailedError`."""
        return Claim(
            self._shared,
            self._function,
            key,
            seen=seen,
            owner=owner,
            nested=nested,
            fresh=fresh,
        )

    def keep(self, key: str, value: Value, seen: Seen) -> None:
        """Keep what others have computed."""
        ttl = self._ttl
        if value.remaining is not None:
            ttl = value.remaining if ttl is None else min(ttl, value.remaining)
        self._keep(key, value.data, seen, ttl)

    def begin(self, lock: ComputeLock) -> None:
        """Its holder is going to look for the value, and to compute it."""
        with self.lock:
            self._computing[lock.key] = (*self._computing.get(lock.key, ()), lock)

    def end(self, lock: ComputeLock) -> None:
        """It was released."""
        with self.lock:
            locks = self._computing.pop(lock.key, ())
            others = tuple(other for other in locks if other is not lock)
            if others:
                self._computing[lock.key] = others

    def failed(self, error: CallFailedError) -> None:
        """The runner could not be asked."""
        self._shared.failed(error)

    # --- for reports ------------------------------------------------------------------------

    def take_uses(self) -> dict[str, int]:
        """How often each value was used since the last time, by key."""
        # A use that is counted at this moment may be lost.
        uses, self._uses = self._uses, {}
        return uses

    # --- inside -----------------------------------------------------------------------------

    def _lock_of_mine(self, key: str) -> ComputeLock | None:
        """The lock that this thread holds for a value, or that it computes one anew under."""
        me = threading.get_ident()
        locks = self._computing.get(key, ())
        return next((lock for lock in reversed(locks) if lock.thread in {me, 0}), None)

    def _is_parked(self, key: str) -> bool:
        return any(place[0] == key for place in list(self.parked))

    def _place_of(self, key: str) -> int:
        return self._shared.stamps.place(f"{self.function_id}/{key}")

    def _is_good(self, record: _Record) -> bool:
        numbers = self._numbers
        return (
            numbers[ALL] == record.seen_all
            and numbers[self._place] == record.seen_function
            and numbers[record.place] == record.seen_key
            and (record.expires is None or _now() < record.expires)
        )

    def _drop(self, key: str, record: _Record) -> None:
        with self.lock:
            if self._records.get(key) is record:
                del self._records[key]
                self._memory.delete(key)

    def _keep(self, key: str, data: bytes, seen: Seen, ttl: float | None) -> None:
        with self.lock:
            if seen.clears != self._clears:
                return  # It was cleared meanwhile, if perhaps only here.
            self._memory.set(key, data)
            expires = None if ttl is None else _now() + ttl
            self._records[key] = _Record(self._place_of(key), seen, expires)
            if len(self._records) > self._max_records:
                kept = streamlit_compat_cache.keys_in_memory(self._memory)
                for other in self._records.keys() - kept:
                    del self._records[other]
                self._max_records = 2 * len(self._records) + _SPARE_RECORDS

    def _from_others(self, key: str) -> Value | None:
        if any(lock.thread for lock in self._computing.get(key, ())):
            # It is what the lock was waiting for; or else the value is about to be computed. Only
            # who computes a value anew in the background leaves the others to ask for what there is.
            lock = self._lock_of_mine(key)
            return None if lock is None else lock.value
        if not self.may_ask(key):
            return None
        seen = self.look(key)
        mine: Future[Value | None] = Future()
        value: Value | None = None
        try:
            with self.lock:
                asked = self._fetching.get(key)
                if asked is None or asked[0] != seen:
                    asked = self._fetching[key] = seen, mine
            if asked[1] is not mine:
                return asked[1].result()  # Another thread has asked, and won't wait for long.
            value = self._shared.get(self._function, key)
            if value is not None:
                self.keep(key, value, seen)
            return value
        finally:
            with self.lock:
                if self._fetching.get(key) == (seen, mine):
                    del self._fetching[key]
            mine.set_result(value)
