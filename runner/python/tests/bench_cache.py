"""What a hit in memory costs, plain and shared, by hand: `PYTHONPATH=runner/python python runner/python/tests/bench_cache.py`."""

import statistics
import sys
import tempfile
import time
from pathlib import Path

from nodes import Node, Runner
from streamfleet_worker import streamlit_compat_cache
from streamlit.runtime.caching.cache_data_api import DataCache, DataCaches
from streamlit.web.cache_storage_manager_config import create_default_cache_storage_manager

SIZES = {"16 bytes": 16, "1 KB": 1000, "100 KB": 100_000}
ROUNDS = 40
CALLS = 500


def load(size, name):
    return bytes(size) if name else None


def measure(functions, size):
    """The median of what a call costs each function, taken in turns, in seconds."""
    costs = [[] for _ in functions]
    for _ in range(ROUNDS):
        for function, times in zip(functions, costs, strict=True):
            began = time.perf_counter()
            for _ in range(CALLS):
                function(size, "some text")
            times.append((time.perf_counter() - began) / CALLS)
    return [statistics.median(times) for times in costs]


def main():
    api = streamlit_compat_cache.cache_data_api
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(Path(folder))
        plain, shared = Node(runner), Node(runner)
        plain.caches = DataCaches()
        manager = create_default_cache_storage_manager()
        plain.caches.get_storage_manager = lambda: manager
        for title, size in SIZES.items():
            functions = []
            for node, kind in ((plain, DataCache), (shared, streamlit_compat_cache.FleetDataCache)):
                api.DataCache = kind
                function = node.function(load, ttl=3600)
                function(size, "some text")
                functions.append(function)
            here, fleet = measure(functions, size)
            sys.stdout.write(
                f"{title:10} plain {here * 1e6:6.2f} us   shared {fleet * 1e6:6.2f} us"
                f"   ratio {fleet / here:.3f}\n"
            )
        runner.close()


if __name__ == "__main__":
    main()
