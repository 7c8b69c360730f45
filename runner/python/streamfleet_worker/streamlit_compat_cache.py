"""The part of `streamlit_compat` that is about `st.cache_data`: private names, and their check.

Streamlit lets others store what is cached, but not say who is to compute it, nor tells them whose
session it is for. So here, and only here, two names in one of its modules are given other values,
subclasses of what they were: the class of a function's cache and the one registry of caches.
"""

from __future__ import annotations

import inspect
import threading
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Final, cast

from streamlit.runtime.caching import cache_data_api, cache_utils
from streamlit.runtime.caching.cache_data_api import DataCache, DataCaches
from streamlit.runtime.caching.cache_errors import CacheKeyNotFoundError
from streamlit.runtime.caching.cache_utils import Cache, get_session_id_or_throw
from streamlit.runtime.caching.storage import CacheStorage
from streamlit.runtime.caching.storage.in_memory_cache_storage_wrapper import (
    InMemoryCacheStorageWrapper,
)
from streamlit.runtime.scriptrunner_utils import script_run_context

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from streamlit.runtime.caching.cached_message_replay import CachedResult

    from streamfleet_worker.cache_locks import ComputeLock

# How often a script that waits for a value looks whether it is to stop, in seconds; as in Streamlit.
_LOOK: Final = 0.1


def seams() -> list[tuple[str, bool]]:
    """What this module builds on, and whether this Streamlit has it."""

    def parameters(function: Any) -> set[str]:
        return set(inspect.signature(function).parameters)

    names: list[tuple[str, Any, str]] = [
        ("cache_data_api", cache_data_api, "_data_caches"),
        ("cache_data_api", cache_data_api, "get_data_cache_stats_provider"),
        ("cache_utils", cache_utils, "TTLCACHE_TIMER"),
        ("script_run_context", script_run_context, "in_cached_function"),
        ("Cache", Cache, "compute_value_lock"),
        ("DataCache", DataCache, "read_result"),
        ("DataCaches", DataCaches, "clear_session"),
        ("DataCaches", DataCaches, "clear_all"),
        ("InMemoryCacheStorageWrapper", InMemoryCacheStorageWrapper, "get_stats"),
        ("InMemoryCacheStorageWrapper", InMemoryCacheStorageWrapper, "stats_families"),
    ]
    if hasattr(Cache, "claim_async_compute"):  # newer than 1.57
        names += [
            ("Cache", Cache, "complete_async_compute"),
            ("Cache", Cache, "mark_detached"),
            ("script_run_context", script_run_context, "get_run_yield_check"),
        ]
    found = [(f"{owner}.{name}", hasattr(thing, name)) for owner, thing, name in names]
    uses = set(InMemoryCacheStorageWrapper.__init__.__code__.co_names)
    found += [
        (f"InMemoryCacheStorageWrapper.{name}", name in uses)
        for name in ("_mem_cache", "_mem_cache_lock")
    ]
    found.append(("DataCaches._function_caches", hasattr(DataCaches(), "_function_caches")))
    found.append(("DataCaches._caches_lock", hasattr(DataCaches(), "_caches_lock")))
    found.append(("DataCaches.get_cache(scope)", "scope" in parameters(DataCaches.get_cache)))
    made = DataCaches.get_cache.__code__.co_names
    found.append(("DataCaches.get_cache: DataCache", "DataCache" in made))
    asked = cache_data_api.CachedDataFuncInfo.get_function_cache.__code__.co_names
    found.append(("CachedDataFuncInfo: _data_caches", "_data_caches" in asked))
    found.append(("DataCache(storage)", "storage" in parameters(DataCache)))
    return found


class SharedStorage(CacheStorage):
    """A storage whose values others have too."""

    @abstractmethod
    def compute_lock(self, key: str, local: threading.Lock | None) -> ComputeLock:
        """The lock to hold while a value is computed, around Streamlit's own."""

    @abstractmethod
    def clear_here(self) -> None:
        """Forget all values in memory only."""

    @abstractmethod
    def set_fresh(self, seconds: float | None) -> None:
        """Values are fresh for so long, and may be used for longer while they are refreshed."""

    @abstractmethod
    def age(self, key: str) -> float:
        """How long ago the value that `get` gave was computed, in seconds."""

    @abstractmethod
    def cannot_read(self, key: str, error: Exception) -> None:
        """A value can't be unpickled here."""


class FleetDataCache(DataCache[Any]):
    """The cache of one function, whose values are computed once in the cluster."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take what Streamlit constructs it with."""
        super().__init__(*args, **kwargs)
        self._shared = self.storage if isinstance(self.storage, SharedStorage) else None
        # Newer than 1.57: an old value is used while another is computed.
        self._refreshes = getattr(self, "refresh_mode", "") == "background"
        if self._shared is not None and self._refreshes:
            self._shared.set_fresh(self.fresh_ttl_seconds)
        self._async_locks: dict[Future[None], ComputeLock] = {}

    def read_result(self, value_key: str) -> CachedResult[Any]:
        """Read a value, whoever has computed it."""
        if self._shared is None:
            return super().read_result(value_key)
        try:
            result = super().read_result(value_key)
        except CacheKeyNotFoundError:
            raise
        except Exception as error:
            # Nothing that the app has done: another worker could pickle it.
            self._shared.cannot_read(value_key, error)
            raise CacheKeyNotFoundError(value_key) from error
        if self._refreshes:
            # Another machine's clock says nothing here.
            result.stored_at = cache_utils.TTLCACHE_TIMER() - self._shared.age(value_key)
        return result

    def compute_value_lock(self, value_key: str) -> threading.Lock:
        """The lock to hold while a value is computed: in all of the cluster."""
        local = super().compute_value_lock(value_key)
        if self._shared is None:
            return local
        return cast("threading.Lock", self._shared.compute_lock(value_key, local))

    def claim_async_compute(self, value_key: str) -> cache_utils.AsyncComputeClaim:
        """As `compute_value_lock`, for coroutines."""
        claim = super().claim_async_compute(value_key)
        future, is_owner, _ = claim
        if is_owner and self._shared is not None:
            lock = self._shared.compute_lock(value_key, None)
            try:
                _acquire(lock)
            except BaseException:
                super().complete_async_compute(value_key, future)
                raise
            self._async_locks[future] = lock
        return claim

    def complete_async_compute(self, value_key: str, future: Future[None]) -> None:
        """As the release of the lock, for coroutines."""
        lock = self._async_locks.pop(future, None)
        if lock is not None:
            lock.release()
        super().complete_async_compute(value_key, future)


class FleetDataCaches(DataCaches):
    """The registry of caches, which tells storages for whom they are."""

    def __init__(self, settle: Callable[[], None]) -> None:
        """Have `settle` wait until what was cleared is forgotten everywhere."""
        super().__init__()
        self._settle = settle

    def get_cache(self, *args: Any, **kwargs: Any) -> DataCache[Any]:
        """The cache of a function, or of one session's calls of it."""
        if kwargs.get("scope", "global") == "global":
            return super().get_cache(*args, **kwargs)
        _creating.session_id = get_session_id_or_throw()
        try:
            return super().get_cache(*args, **kwargs)
        finally:
            _creating.session_id = ""

    def clear_all(self) -> None:
        """Forget everything, everywhere."""
        super().clear_all()
        self._settle()

    def leave_session(self, session_id: str) -> None:
        """Forget here what is cached for a session, as it goes on elsewhere."""
        with self._caches_lock:
            caches = self._function_caches.pop(session_id, {})
        for cache in caches.values():
            detach = getattr(cache, "mark_detached", None)  # newer than 1.57
            if detach is not None:
                detach()
            if isinstance(cache.storage, SharedStorage):
                cache.storage.clear_here()
            cache.storage.close()


class _Creating(threading.local):
    session_id = ""


_creating = _Creating()


def install(settle: Callable[[], None]) -> None:
    """Put our subclasses in the place of Streamlit's. To be called before the runtime is made."""
    names = vars(cache_data_api)
    names["DataCache"] = FleetDataCache
    names["_data_caches"] = FleetDataCaches(settle)


def session_of_new_cache() -> str:
    """The session that a cache is just being created for; empty if it is for all."""
    return _creating.session_id


def leave_session(session_id: str) -> None:
    """A session goes on elsewhere, and what is cached for it with it."""
    caches = cache_data_api._data_caches
    if isinstance(caches, FleetDataCaches):
        caches.leave_session(session_id)


def is_in_memory(storage: CacheStorage, key: str) -> bool:
    """Whether Streamlit's storage in memory has a value; that is no use of it."""
    memory = cast("InMemoryCacheStorageWrapper", storage)
    with memory._mem_cache_lock:
        return key in memory._mem_cache


def keys_in_memory(storage: CacheStorage) -> set[str]:
    """The values that Streamlit's storage in memory has."""
    memory = cast("InMemoryCacheStorageWrapper", storage)
    with memory._mem_cache_lock:
        return set(memory._mem_cache)


def _acquire(lock: ComputeLock) -> None:
    """Acquire a lock as Streamlit does, stopping when the script is to stop."""
    if lock.acquire(blocking=False):
        return
    check = None
    if not script_run_context.in_cached_function.get():
        check = script_run_context.get_run_yield_check()
    if check is None:
        lock.acquire()
        return
    while not lock.acquire(timeout=_LOOK):
        check()
