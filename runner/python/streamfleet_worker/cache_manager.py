"""Gives each function under `st.cache_data` its storage, shared by the workers where it can be."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import sys
from typing import TYPE_CHECKING, Final

import streamlit
from streamlit.runtime.caching.storage import CacheStorageManager

from streamfleet_worker import streamlit_compat_cache
from streamfleet_worker.cache_calls import SharedCache
from streamfleet_worker.cache_stamps import Stamps
from streamfleet_worker.cache_storage import FleetStorage

if TYPE_CHECKING:
    from streamlit.runtime.caching.storage import CacheStorage, CacheStorageContext

    from streamfleet_worker.calls import Calls

_LOGGER = logging.getLogger(__name__)

# A longer time to live is none, in seconds: about 30 years.
_FOREVER: Final = 1e9


class FleetCacheStorageManager(CacheStorageManager):
    """Makes the storages: Streamlit's own, and around those in memory ours."""

    def __init__(self, shared: SharedCache, own: CacheStorageManager) -> None:
        """Share what the storages of `own`, Streamlit's manager, would keep in memory."""
        self._shared = shared
        self._own = own

    def create(self, context: CacheStorageContext) -> CacheStorage:
        """The storage of one function."""
        storage = self._own.create(context)
        ttl, max_entries = context.ttl_seconds, context.max_entries
        if ttl is not None and ttl > _FOREVER:
            ttl = None
        keeps_nothing = (ttl is not None and ttl < 0.001) or max_entries == 0
        if context.persist is not None or keeps_nothing:
            return storage
        max_bytes: int | None = getattr(context, "max_size_bytes", None)  # newer than 1.57
        session_id = streamlit_compat_cache.session_of_new_cache()
        function = self._shared.calls.wire.cached_function(
            id=_function_id(context.function_key, ttl, max_entries, max_bytes, session_id),
            ttl_ms=0 if ttl is None else math.ceil(ttl * 1000),
            max_entries=max_entries or 0,
            max_bytes=max_bytes or 0,
        )
        return FleetStorage(self._shared, function, storage, ttl)

    def clear_all(self) -> None:
        """Forget everything, everywhere; others may still have it when this returns."""
        self._shared.clears.start()
        self._own.clear_all()

    def check_context(self, context: CacheStorageContext) -> None:
        """Check what a function was declared with, as Streamlit does."""
        self._own.check_context(context)


def share_cache(
    calls: Calls, stamps_path: str, max_value_bytes: int, own: CacheStorageManager
) -> CacheStorageManager:
    """Have `st.cache_data` share its values. To be called before the runtime is made."""
    try:
        stamps = Stamps(stamps_path)
    except (OSError, ValueError) as error:
        _LOGGER.warning("The shared cache is unavailable: %s; computing here", error)
        return own
    shared = SharedCache(calls, stamps, max_value_bytes)
    streamlit_compat_cache.install(shared.clears.wait)
    return FleetCacheStorageManager(shared, own)


def _function_id(*declared: object) -> str:
    # What one version pickles another may not be able to read.
    versions = (streamlit.__version__, *sys.version_info[:2])
    text = json.dumps([*declared, *versions])
    return hashlib.sha256(text.encode()).hexdigest()[:32]
