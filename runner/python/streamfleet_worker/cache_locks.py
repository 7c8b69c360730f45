"""One computation of a value in the whole cluster: what Streamlit takes for the lock around it.

Streamlit has a lock for each value. It looks for the value again once it holds that, and computes
it if it still isn't there. A `ComputeLock` is held by whoever has Streamlit's own lock and, from
the runner, either the value or the right to compute it.
"""

from __future__ import annotations

import dataclasses
import secrets
import threading
import time
from typing import TYPE_CHECKING, Final

from streamfleet_worker.cache_calls import Claim, Value
from streamfleet_worker.calls import CallFailedError

if TYPE_CHECKING:
    from types import TracebackType

    from streamfleet_worker.cache_stamps import Seen
    from streamfleet_worker.cache_storage import FleetStorage

# How long the runner's answer is waited for by somebody who does not want to wait, in seconds:
# when nobody else computes the value it comes in less.
_NO_WAIT: Final = 0.02
# And by whom a refreshed value is computed, while an old one is to be shown.
_REFRESH_WAIT: Final = 0.5
# How long a thread may be deaf to an interruption while it waits, in seconds.
_SLICE: Final = 0.5


@dataclasses.dataclass(eq=False, slots=True)
class Parked:
    """A claim that is waited for in turns: each time for as long as Streamlit allows."""

    claim: Claim
    # Locks that will come back for it.
    waiting: int = 0


class _Thread(threading.local):
    """What a thread computes."""

    def __init__(self) -> None:
        self.held: list[ComputeLock] = []


_thread = _Thread()
# Guards what is parked, and nothing else is locked under it: Python may come to `__del__` anywhere.
_parking = threading.RLock()


class ComputeLock:
    """Looks like a `threading.Lock`. One is made for each computation."""

    def __init__(self, storage: FleetStorage, key: str, local: threading.Lock | None) -> None:
        """Lock the value of `key`; `local` is Streamlit's lock of it, if it has one."""
        self.key = key
        self.owner = ""
        # What came from others, until it has been read; only for this thread.
        self.value: Value | None = None
        # Who computes; 0 for any, as whoever refreshes a value leaves that to another thread.
        self.thread = 0
        # From before the computation.
        self.seen: Seen | None = None
        self._storage = storage
        self._local = local
        self._has_local = False
        self._claim: Claim | None = None
        # The thread's list, which another thread may have to take it from.
        self._held: list[ComputeLock] | None = None
        self._parked: Parked | None = None

    # --- for Streamlit ----------------------------------------------------------------------

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Get the value, or the right to compute it."""
        if not blocking and self._local is not None and self._storage.fresh_from is not None:
            # Perhaps for a value that was old when it was read. Who has none comes back to wait.
            return self._acquire_refresh()
        deadline = None if blocking and timeout < 0 else time.monotonic() + max(timeout, 0)
        # Who computes may be what the others wait for. It never waits for a lock of this
        # process then: only the runner knows all who wait for each other.
        nested = bool(_thread.held)
        if self._local is not None:
            self._has_local = _take(self._local, 0.0 if nested else deadline)
            if not self._has_local and not nested:
                return False
        self.owner = _thread.held[0].owner if nested else secrets.token_hex(8)
        try:
            patience = deadline if blocking else time.monotonic() + _NO_WAIT
            if self._decide(patience, nested=nested):
                self._held = _thread.held
                self._held.append(self)
                return True
        except BaseException:
            self._let_go()
            raise
        self._release_local()
        return False

    def release(self) -> None:
        """Give up the right, unless it has been used, and let the next one look."""
        self._let_go()

    def locked(self) -> bool:
        """Whether anybody in this process computes the value."""
        return self._local is not None and self._local.locked()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def __del__(self) -> None:
        # A run that is stopped while it waits doesn't say so.
        self._leave()

    # --- for the storage --------------------------------------------------------------------

    @property
    def may_write(self) -> bool:
        """Whether what is computed was asked for, and is not to be forgotten again."""
        claim = self._claim
        return claim is not None and self._storage.is_current(self.key, claim.seen)

    def put(self, data: bytes) -> None:
        """The value has been computed: share it."""
        with self._storage.lock:
            claim = self._claim
            if claim is None or not claim.is_shared or len(data) > self._storage.max_value_bytes:
                return
            self._claim = None
        claim.put(data)

    # --- inside -----------------------------------------------------------------------------

    def _decide(self, deadline: float | None, *, nested: bool) -> bool:
        """Wait until it is clear who computes the value; whether it is by the deadline."""
        storage = self._storage
        tries = 2
        while tries:
            if storage.has_value(self.key) or not storage.may_ask(self.key):
                break
            try:
                parked = self._claim_it(nested=nested)
                try:
                    outcome = parked.claim.outcome(deadline)
                except BaseException:
                    parked.claim.close()
                    raise
            except CallFailedError as error:
                # Either the runner is gone, or it was too late to take the right that it gave.
                tries -= 1
                if not tries:
                    storage.failed(error)
                continue
            if outcome is None:
                self._park(parked, nested=nested)
                return False
            if isinstance(outcome, Value):
                parked.claim.close()
                self.value = outcome
                storage.keep(self.key, outcome, parked.claim.seen)
            elif outcome == "granted":
                self._claim = parked.claim
            else:
                parked.claim.close()
            self.seen = parked.claim.seen
            self.owner = parked.claim.owner
            break
        self.thread = threading.get_ident()
        self._begin()
        return True

    def _acquire_refresh(self) -> bool:
        """Get the right to compute the value anew, while the one that there is stays in use.

        Another thread is going to do it and to release the lock. There is no such right where the
        value has been replaced or has gone since it was read.
        """
        storage = self._storage
        assert self._local is not None
        if not self._local.acquire(blocking=False):
            return False
        self._has_local = True
        try:
            if not storage.is_stale(self.key):
                self._let_go()
                return False
            seen = storage.look(self.key)
            outcome: str | Value | None
            try:
                claim = storage.claim(
                    self.key, seen, secrets.token_hex(8), fresh=storage.fresh_from
                )
                self._claim = claim
                outcome = claim.outcome(time.monotonic() + _REFRESH_WAIT)
            except CallFailedError as error:
                storage.failed(error)
                outcome = "failed"
            if outcome == "failed":
                self._close_claim()
            elif outcome != "granted":
                if isinstance(outcome, Value):
                    storage.keep(self.key, outcome, seen)
                self._let_go()
                return False
            self.seen = seen
            self._begin()
        except BaseException:
            self._let_go()
            raise
        return True

    def _begin(self) -> None:
        self._leave()
        if self.seen is None:
            self.seen = self._storage.look(self.key)
        self._storage.begin(self)

    def _let_go(self) -> None:
        if self._held is not None:
            self._held.remove(self)
            self._held = None
        self._storage.end(self)
        self.value = None
        self._close_claim()
        self._release_local()

    def _close_claim(self) -> None:
        claim, self._claim = self._claim, None
        if claim is not None:
            claim.close()

    def _release_local(self) -> None:
        if self._has_local:
            self._has_local = False
            assert self._local is not None
            self._local.release()

    # --- waiting in turns -------------------------------------------------------------------

    def _claim_it(self, *, nested: bool) -> Parked:
        """The claim that somebody here has made before, or a new one."""
        storage = self._storage
        seen = storage.look(self.key)
        with _parking:
            parked = storage.parked.pop(self._place(nested=nested), None)
        if parked is not None:
            if parked.claim.seen == seen:
                return parked
            # It may be answered by what has been cleared since.
            parked.claim.close()
        return Parked(storage.claim(self.key, seen, self.owner, nested=nested))

    def _park(self, parked: Parked, *, nested: bool) -> None:
        place = self._place(nested=nested)
        with _parking:
            if self._parked is not parked:
                self._leave()
                self._parked = parked
                parked.waiting += 1
            other = self._storage.parked.pop(place, None)
            self._storage.parked[place] = parked
        if other is not None:
            # Streamlit has made new locks meanwhile, as it does when a value is cleared.
            other.claim.close()

    def _leave(self) -> None:
        """Don't wait for the claim any more; it is given up when nobody does."""
        storage = self._storage
        with _parking:
            parked, self._parked = self._parked, None
            if parked is None:
                return
            parked.waiting -= 1
            if parked.waiting:
                return
            for place, other in list(storage.parked.items()):
                if other is parked:
                    del storage.parked[place]
                    parked.claim.close()

    def _place(self, *, nested: bool) -> tuple[str, str]:
        # Its owner is who waits: somebody else's wait is none for what this thread holds.
        return self.key, self.owner if nested else ""


def _take(lock: threading.Lock, deadline: float | None) -> bool:
    while True:
        left = _SLICE if deadline is None else deadline - time.monotonic()
        if lock.acquire(timeout=min(max(left, 0), _SLICE)):
            return True
        if deadline is not None and left <= 0:
            return False
