"""Values of `st.cache_data` that several workers share: two nodes of this process here."""

import asyncio
import gc
import itertools
import pickle
import threading
import time
import tracemalloc
from random import Random

import pytest
from nodes import LIMIT, WIRE, Clock, InThread, Node, Runner, installed
from streamfleet_worker import cache_calls, cache_clears, cache_manager, cache_storage, seldom
from streamfleet_worker.calls import Calls
from streamlit.runtime.caching.cache_utils import Cache
from streamlit.runtime.caching.storage import CacheStorageContext, CacheStorageKeyNotFoundError


@pytest.fixture
def runner(tmp_path, monkeypatch):
    installed(monkeypatch)
    monkeypatch.setattr(seldom, "_PAUSE", 0.0)
    runner = Runner(tmp_path)
    yield runner
    runner.close()


@pytest.fixture
def one(runner):
    return Node(runner)


@pytest.fixture
def other(runner):
    return Node(runner)


class Counted:
    """A function that counts its calls; the same one for every node."""

    def __init__(self):
        self.calls = []

    def function(self):
        calls = self.calls

        def double(x):
            calls.append(x)
            return [x, x]

        return double


@pytest.fixture
def counted():
    return Counted()


def test_a_value_is_computed_once_in_the_cluster(runner, one, other, counted):
    here, there = one.function(counted.function()), other.function(counted.function())
    assert here(1) == there(1) == here(1) == there(1) == [1, 1]
    assert here(2) == [2, 2]
    assert counted.calls == [1, 2]
    # The second is a hit in memory, both here and there.
    assert runner.kinds("get_value", "claim_value") == [
        *("get_value", "claim_value"),
        "get_value",
        *("get_value", "claim_value"),
    ]


def test_nobody_gets_another_ones_object(one, counted):
    function = one.function(counted.function())
    function(1).append("mine")
    assert function(1) == [1, 1]


@pytest.mark.parametrize("of_one", [True, False])
def test_what_is_cleared_is_cleared_everywhere(one, other, counted, of_one):
    here, there = one.function(counted.function()), other.function(counted.function())
    assert here(1) == there(1) == [1, 1]
    assert here(2) == there(2) == [2, 2]
    there.clear(*([1] if of_one else []))
    here(1)
    there(1)
    assert counted.calls == [1, 2, 1]
    here(2)
    there(2)
    assert counted.calls == ([1, 2, 1] if of_one else [1, 2, 1, 2])


def test_all_caches_are_cleared_together(one, other, counted):
    here, there = one.function(counted.function()), other.function(counted.function())
    here(1)
    there(1)
    one.caches.clear_all()
    there(1)
    here(1)
    assert counted.calls == [1, 1]


def test_values_expire_everywhere_at_once(one, other, counted, monkeypatch):
    clock = Clock(monkeypatch)
    here = one.function(counted.function(), ttl=600)
    there = other.function(counted.function(), ttl=600)
    here(1)
    clock.skip(300)
    there(1)
    clock.skip(301)
    assert len(counted.calls) == 1
    there(1)
    assert len(counted.calls) == 2


def test_what_a_cache_may_hold_is_streamlits_to_enforce(runner, one, counted):
    function = one.function(counted.function(), max_entries=2)
    for x in (1, 2, 3):
        function(x)
    memory = one.cache(function).storage._memory
    assert len(memory._mem_cache) == 2
    # The cluster has its own memory, which this runner does not limit.
    function(1)
    assert counted.calls == [1, 2, 3]
    sent = next(r for r in runner.requests if r.WhichOneof("kind") == "claim_value")
    assert sent.claim_value.function.max_entries == 2


def test_records_of_evicted_values_do_not_pile_up(one, counted, monkeypatch):
    monkeypatch.setattr(cache_storage, "_SPARE_RECORDS", 4)
    function = one.function(counted.function(), max_entries=3)
    for x in range(60):
        function(x)
    storage = one.cache(function).storage
    assert len(storage._records) <= 4 + 2 * 3 + 1
    assert not storage._computing
    assert not storage._fetching
    assert not storage.parked


def test_statistics_are_streamlits(one, counted):
    function = one.function(counted.function())
    function(1)
    (stats,) = one.caches.get_stats().values()
    assert [stat.cache_name.rsplit(".")[-1] for stat in stats] == ["double"]
    assert stats[0].byte_length > 0


def test_a_large_value_stays_where_it_is(runner, one, other):
    calls = []

    def load():
        calls.append(1)
        return b"x" * (2 << 20)

    here, there = one.function(load), other.function(load)
    assert here() == here() == there() == there()
    assert len(calls) == 2
    assert not runner.values


def test_a_value_that_memory_can_not_hold_is_had_from_others(runner, one, other, counted):
    here, there = one.function(counted.function()), other.function(counted.function())
    here(1)
    storage = other.cache(there).storage
    storage._memory.set = lambda key, value: None
    assert there(1) == [1, 1]
    # Nor when it comes only while somebody else computes it.
    runner.values.clear()
    runner.bump()
    held = one.cache(here).compute_value_lock(one.key(here, 2))
    assert held.acquire(blocking=False)
    waiting = InThread(there, 2)
    runner.until(lambda: len(runner.waiting) == 1)
    one.cache(here).write_result(one.key(here, 2), "from here", [])
    held.release()
    assert waiting.result() == "from here"
    assert counted.calls == [1]


def test_a_large_value_is_in_memory_once(runner, other):
    def load():
        raise AssertionError

    size = 50_000_000
    function = other.function(load)
    storage = other.cache(function).storage
    runner.values[storage.function_id, "k"] = bytes(size), None
    tracemalloc.start()
    try:
        data = storage.get("k")
        _, peak = tracemalloc.get_traced_memory()
        assert storage.get("k") is data
    finally:
        tracemalloc.stop()
    assert type(data) is bytes
    assert len(data) == size
    assert peak < size * 1.1


def test_threads_that_miss_together_ask_once(runner, one, counted):
    function = one.function(counted.function())
    storage = one.cache(function).storage
    found = []
    get = storage._shared.get
    gate = threading.Event()

    def slow(*args):
        gate.wait(5)
        return get(*args)

    storage._shared.get = slow
    runner.values[storage.function_id, "k"] = b"data", None
    threads = [InThread(lambda: found.append(storage.get("k"))) for _ in range(8)]
    time.sleep(0.1)
    gate.set()
    for thread in threads:
        thread.result()
    assert found == [b"data"] * 8
    assert runner.kinds("get_value") == ["get_value"]


# --- failures -----------------------------------------------------------------------------


@pytest.fixture
def warned_anew(monkeypatch, caplog):
    """The log; what was said in another test, less than a minute ago, is said again."""
    monkeypatch.setattr(cache_calls._UNAVAILABLE, "_next", 0.0)
    return caplog


def test_without_the_runner_each_worker_computes_alone(runner, one, other, counted, warned_anew):
    runner.close()
    here, there = one.function(counted.function()), other.function(counted.function())
    assert here(1) == here(1) == there(1) == there(1) == [1, 1]
    assert counted.calls == [1, 1]
    assert "The shared cache is unavailable" in warned_anew.text


@pytest.mark.parametrize("kind", ["get_value", "claim_value", "put_value", "values_used"])
def test_no_failure_reaches_the_app(runner, one, counted, kind):
    runner.failing.add(kind)
    function = one.function(counted.function())
    assert function(1) == function(1) == [1, 1]
    assert counted.calls == [1]


def test_warnings_are_seldom(runner, one, counted, caplog, monkeypatch):
    monkeypatch.setattr(seldom, "_PAUSE", 60.0)
    monkeypatch.setattr("streamfleet_worker.cache_calls._UNAVAILABLE._next", 0.0)
    runner.failing.add("claim_value")
    function = one.function(counted.function())
    for x in range(5):
        function(x)
    assert caplog.text.count("unavailable") == 1


def test_what_could_not_be_cleared_everywhere_does_not_come_back(
    runner, one, other, counted, caplog
):
    here, there = one.function(counted.function()), other.function(counted.function())
    here(1)
    there(1)
    runner.failing.add("clear_values")
    here.clear()
    assert "cleared in this worker only" in caplog.text
    here(1)
    assert counted.calls == [1, 1]
    assert here(1) == [1, 1]
    assert len(counted.calls) == 2
    # The runner is told as soon as it can be, and then all is as before.
    runner.failing.clear()
    runner.until(lambda: not runner.values)
    there(1)
    assert len(counted.calls) == 3
    here(1)
    assert len(counted.calls) == 3


def test_the_event_loop_does_not_wait_for_a_clear(runner, one, other, counted):
    here, there = one.function(counted.function()), other.function(counted.function())
    here(1)
    there(1)
    gate = threading.Event()
    clear = runner._clear_values

    def slow(*args):
        gate.wait(LIMIT)
        clear(*args)

    runner._clear_values = slow

    async def menu():
        one.caches.clear_all()

    began = time.monotonic()
    asyncio.run(menu())
    assert time.monotonic() - began < cache_clears._LIMIT
    # Whoever comes next waits for it, so as not to get what was cleared.
    thread = InThread(here, 1)
    time.sleep(0.1)
    assert counted.calls == [1]
    gate.set()
    thread.result()
    there(1)
    assert counted.calls == [1, 1]


@pytest.mark.parametrize("data", [b"\x80\x04", b"cno.such.module\nThing\n.", b"\x80\x04N.", b""])
def test_what_can_not_be_read_is_computed(runner, one, counted, data):
    function = one.function(counted.function())
    storage = one.cache(function).storage
    key = storage.function_id, one.key(function, 1)
    runner.values[key] = data, None
    assert function(1) == function(1) == [1, 1]
    assert counted.calls == [1]


def test_a_late_value_is_not_kept_after_a_clear(runner, one, counted):
    function = one.function(counted.function())
    storage = one.cache(function).storage
    get = storage._shared.get

    def overtaken(*args):
        value = get(*args)
        function.clear()
        return value

    runner.values[storage.function_id, "k"] = b"old", None
    storage._shared.get = overtaken
    assert storage.get("k") == b"old"
    storage._shared.get = get
    with pytest.raises(CacheStorageKeyNotFoundError):
        storage.get("k")


def test_what_was_begun_before_a_clear_is_not_kept(one, other):
    begun, go = threading.Event(), threading.Event()
    calls = []

    def load():
        calls.append(1)
        begun.set()
        go.wait(5)
        return len(calls)

    here, there = one.function(load), other.function(load)
    thread = InThread(here)
    begun.wait(5)
    there.clear()
    go.set()
    assert thread.result() == 1
    assert here() == there() == 2


def test_nobody_gets_what_was_cleared_before_they_asked(runner):
    """Many at once, on several nodes; a value is the number of clears there had been."""
    nodes = [Node(runner) for _ in range(3)]
    cleared, numbers = 0, itertools.count(1)
    clearing = threading.Lock()

    def load(_x):
        found = cleared
        time.sleep(0.001)
        return found

    functions = [node.function(load) for node in nodes]
    end = time.monotonic() + 2

    def use(seed):
        nonlocal cleared
        random = Random(seed)
        uses = 0
        while time.monotonic() < end:
            function, x = random.choice(functions), random.randrange(3)
            if random.random() < 0.03:
                with clearing:
                    number = next(numbers)
                    cleared = number
                    args = random.choice(([], [0], [1], [2]))
                    function.clear(*args)
                    for of in args or range(3):
                        lowest[of] = number
            else:
                before = lowest[x]
                assert function(x) >= before
            uses += 1
        return uses

    lowest = [0, 0, 0]
    threads = [InThread(use, seed) for seed in range(9)]
    assert sum(thread.result(30) for thread in threads) > 100


# --- what is shared -----------------------------------------------------------------------


def storage_of(node, **fields):
    fields = {"function_key": "f", "function_display_name": "f", **fields}
    return node.manager.create(CacheStorageContext(**fields))


def test_functions_are_told_apart_by_how_they_are_declared(one, other):
    ids = [
        storage_of(one, **fields).function_id
        for fields in (
            {},
            {"function_key": "g"},
            {"ttl_seconds": 1},
            {"ttl_seconds": 2},
            {"max_entries": 1},
        )
    ]
    assert len(set(ids)) == 5
    assert all(len(name) == 32 for name in ids)
    assert storage_of(other).function_id == ids[0]


@pytest.mark.parametrize(
    "fields", [{"persist": "disk"}, {"ttl_seconds": 0}, {"max_entries": 0}, {"ttl_seconds": -1}]
)
def test_what_can_not_be_shared_is_streamlits(one, fields):
    assert not isinstance(storage_of(one, **fields), cache_storage.FleetStorage)


def test_persistent_functions_are_left_to_streamlit(runner, one, counted, tmp_path, monkeypatch):
    path = "streamlit.runtime.caching.storage.local_disk_cache_storage.get_cache_folder_path"
    monkeypatch.setattr(path, lambda: str(tmp_path / "disk"))
    function = one.function(counted.function(), persist="disk")
    cache = one.cache(function)
    assert cache.compute_value_lock("k") is Cache.compute_value_lock(cache, "k")
    assert not runner.requests


def test_no_limits_are_sent_as_zero(one):
    function = storage_of(one, ttl_seconds=float("inf"))._function
    assert (function.ttl_ms, function.max_entries, function.max_bytes) == (0, 0, 0)
    assert storage_of(one, ttl_seconds=1.5)._function.ttl_ms == 1500


def test_without_stamps_all_is_streamlits(runner, tmp_path, caplog):
    own = object()
    calls = Calls(WIRE, runner.path)
    (tmp_path / "empty").touch()
    for name in ("missing", "empty"):
        assert cache_manager.share_cache(calls, str(tmp_path / name), 1, own) is own
    assert "unavailable" in caplog.text


# --- reports of use -----------------------------------------------------------------------


def test_uses_of_what_is_in_memory_are_reported(runner, one, counted):
    function = one.function(counted.function())
    for _ in range(4):
        function(1)
    name = one.cache(function).storage.function_id, one.key(function, 1)
    runner.until(lambda: runner.uses.get(name) == 3)
    reports = len(runner.kinds("values_used"))
    time.sleep(0.5)
    assert len(runner.kinds("values_used")) == reports


def test_uses_are_reported_before_something_is_put(runner, one, counted):
    function = one.function(counted.function())
    function(1)
    function(1)
    function(2)
    kinds = runner.kinds("values_used", "put_value")
    assert kinds[:3] == ["put_value", "values_used", "put_value"]


def test_storages_of_the_past_are_not_kept(one, counted):
    function = one.function(counted.function())
    function(1)
    one.caches.clear_all()
    gc.collect()
    assert pickle.dumps(function(1))
    storages = [o for o in gc.get_objects() if isinstance(o, cache_storage.FleetStorage)]
    mine = [s for s in storages if s._shared is one.shared]
    assert len(mine) == 1
