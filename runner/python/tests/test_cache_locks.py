"""Values of `st.cache_data` are computed by one of all who want them: threads and nodes here."""

import asyncio
import ctypes
import gc
import inspect
import threading
import time

import pytest
from nodes import LIMIT, Clock, InThread, Node, Runner, installed
from streamfleet_worker import cache_locks
from streamlit.runtime.caching import cache_utils
from streamlit.runtime.caching.cache_utils import Cache
from streamlit.runtime.scriptrunner_utils import script_run_context

HAS_ASYNC = hasattr(Cache, "claim_async_compute")
newer = pytest.mark.skipif(not HAS_ASYNC, reason="this Streamlit computes in the foreground only")


@pytest.fixture
def runner(tmp_path, monkeypatch):
    installed(monkeypatch)
    runner = Runner(tmp_path)
    yield runner
    runner.close()
    assert not cache_locks._thread.held


@pytest.fixture
def one(runner):
    return Node(runner)


@pytest.fixture
def other(runner):
    return Node(runner)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


class Slow:
    """A function that takes as long as the test wants."""

    def __init__(self, fail=False):
        self.calls = []
        self.begun = threading.Event()
        self.go = threading.Event()
        self.fail = fail

    def function(self):
        def load(x):
            self.calls.append(x)
            self.begun.set()
            assert self.go.wait(LIMIT)
            if self.fail and len(self.calls) == 1:
                raise ValueError("no luck")
            return [x, len(self.calls)]

        return load


def test_those_who_come_meanwhile_get_the_same(runner, one, other):
    slow = Slow()
    here, there = one.function(slow.function()), other.function(slow.function())
    threads = [InThread(here, 1)]
    slow.begun.wait(LIMIT)
    threads += [InThread(here, 1) for _ in range(4)] + [InThread(there, 1) for _ in range(4)]
    runner.until(lambda: runner.waiting)
    slow.go.set()
    assert [thread.result() for thread in threads] == [[1, 1]] * 9
    assert slow.calls == [1]
    # However many wait in a process, it does so with one claim.
    assert runner.kinds("claim_value") == ["claim_value"] * 2
    for function in (here, there):
        storage = function._info.node.cache(function).storage
        assert not storage.parked
        assert not storage._computing
    assert not runner.claims


def test_a_failure_lets_the_next_one_try(runner, one, other):
    slow = Slow(fail=True)
    here, there = one.function(slow.function()), other.function(slow.function())
    first = InThread(here, 1)
    slow.begun.wait(LIMIT)
    second = InThread(there, 1)
    runner.until(lambda: runner.waiting)
    slow.go.set()
    with pytest.raises(ValueError, match="no luck"):
        first.result()
    assert second.result() == [1, 2]


def test_the_end_of_who_computes_frees_those_who_wait(runner, one):
    slow = Slow()
    slow.go.set()
    function = one.function(slow.function())
    dying = claim_elsewhere(one.cache(function).storage, one.key(function, 1))
    thread = InThread(function, 1)
    runner.until(lambda: runner.waiting)
    dying.close()
    assert thread.result() == [1, 1]


def test_a_runner_that_dies_meanwhile_is_noticed(runner, one, other):
    slow = Slow()
    here, there = one.function(slow.function()), other.function(slow.function())
    first = InThread(here, 1)
    slow.begun.wait(LIMIT)
    second = InThread(there, 1)
    runner.until(lambda: runner.waiting)
    runner.close()
    until(lambda: len(slow.calls) == 2)
    slow.go.set()
    first.result()
    second.result()


def test_different_values_do_not_wait_for_each_other(one, other):
    slow = Slow()
    here, there = one.function(slow.function()), other.function(slow.function())
    thread = InThread(here, 1)
    slow.begun.wait(LIMIT)
    second = InThread(there, 2)
    while len(slow.calls) < 2:
        time.sleep(0.001)
    slow.go.set()
    thread.result()
    second.result()


# --- nested calls -------------------------------------------------------------------------


def test_cached_functions_call_each_other(one, other):
    calls = []

    def make(node):
        def inner(x):
            calls.append("inner")
            return x + 1

        inner = node.function(inner)

        def outer(x):
            calls.append("outer")
            return inner(x) * 2

        return node.function(outer)

    assert make(one)(1) == make(other)(1) == 4
    assert calls == ["outer", "inner"]


@pytest.mark.parametrize("in_one_process", [True, False])
def test_those_who_wait_for_each_other_both_go_on(one, other, in_one_process):
    both = threading.Barrier(2, timeout=LIMIT)
    depth = threading.local()

    def make(node):
        def left(x):
            if first():
                both.wait()
                return ["left", functions["right"](x)]
            return "left"

        def right(x):
            if first():
                both.wait()
                return ["right", functions["left"](x)]
            return "right"

        functions = {"left": node.function(left), "right": node.function(right)}
        return functions

    def first():
        depth.value = getattr(depth, "value", 0) + 1
        return depth.value == 1

    here = make(one)
    there = here if in_one_process else make(other)
    threads = InThread(here["left"], 1), InThread(there["right"], 1)
    values = [thread.result() for thread in threads]
    # One of them computes what the other one does as well, and gets that.
    assert ["left", "right"] in values or ["right", "left"] in values


def test_a_value_that_needs_itself_fails_instead_of_hanging(one):
    def load(x):
        return function(x)

    function = one.function(load)
    with pytest.raises(RecursionError):
        InThread(function, 1).result(30)


# --- the lock as Streamlit uses it ---------------------------------------------------------


def lock_of(node, key="k"):
    function = node.function(unused)
    return node.cache(function).compute_value_lock(key), node.cache(function).storage


def unused():
    raise AssertionError


def claim_elsewhere(storage, key="k"):
    """The right to compute a value, as another worker has it."""
    claim = storage.claim(key, storage.look(key), "another")
    assert claim.outcome(time.monotonic() + LIMIT) == "granted"
    return claim


def test_the_lock_is_one(one):
    lock, storage = lock_of(one)
    another, _ = lock_of(one)
    assert not lock.locked()
    with lock:
        assert lock.locked()
        assert another.locked()
        assert not InThread(another.acquire, False).result()
        began = time.monotonic()
        assert not InThread(another.acquire, True, 0.1).result()
        assert time.monotonic() - began >= 0.1
    assert not another.locked()
    assert not storage._computing


def test_an_answer_that_comes_later_is_not_lost(runner, one):
    runner.may_answer.clear()
    lock, storage = lock_of(one)
    assert not lock.acquire(blocking=False)
    assert not lock.acquire(timeout=0.05)
    assert len(storage.parked) == 1
    runner.may_answer.set()
    assert lock.acquire(timeout=LIMIT)
    assert len(runner.kinds("claim_value")) == 1
    assert not storage.parked
    lock.release()


def test_another_thread_goes_on_with_a_claim(runner, one):
    runner.may_answer.clear()
    first, storage = lock_of(one)
    second, _ = lock_of(one)
    assert not first.acquire(timeout=0.05)
    assert not InThread(second.acquire, True, 0.05).result()
    # The first one is stopped, and doesn't say so.
    del first
    gc.collect()
    assert len(storage.parked) == 1
    runner.may_answer.set()
    assert InThread(second.acquire, True, LIMIT).result()
    assert len(runner.kinds("claim_value")) == 1
    second.release()


def test_a_claim_that_nobody_waits_for_is_given_up(runner, one):
    lock, storage = lock_of(one)
    claim = claim_elsewhere(storage)
    assert not lock.acquire(timeout=0.05)
    runner.until(lambda: len(runner.waiting) == 1)
    del lock
    gc.collect()
    assert not storage.parked
    runner.until(lambda: not runner.waiting)
    claim.close()


def test_a_claim_from_before_a_clear_is_made_anew(runner, one):
    lock, storage = lock_of(one)
    claim = claim_elsewhere(storage)
    assert not lock.acquire(timeout=0.05)
    runner.bump(storage.function_id)
    assert not lock.acquire(timeout=0.05)
    assert len(runner.kinds("claim_value")) == 3
    assert len(storage.parked) == 1
    claim.close()


def test_who_waits_can_be_interrupted(one):
    lock, storage = lock_of(one)
    claim = claim_elsewhere(storage)

    class Interruption(BaseException):
        pass

    def wait():
        with lock:
            pass

    thread = InThread(wait)
    time.sleep(0.1)
    ident = ctypes.c_ulong(thread._thread.ident)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(Interruption))
    with pytest.raises(Interruption):
        thread.result(3)
    assert not lock.locked()
    assert not storage._computing
    claim.close()


@newer
def test_a_run_that_is_to_stop_does_not_wait(runner, one, monkeypatch):
    class Stop(BaseException):
        pass

    def check():
        raise Stop

    function = one.function(unused)
    claim = claim_elsewhere(one.cache(function).storage, one.key(function))
    monkeypatch.setattr(cache_utils, "get_run_yield_check", lambda: check)
    with pytest.raises(Stop):
        function()
    gc.collect()
    assert not one.cache(function).storage.parked
    runner.until(lambda: not runner.waiting)
    claim.close()


# --- background refresh -------------------------------------------------------------------


@newer
def test_an_old_value_is_refreshed_once_in_the_cluster(runner, one, other, clock):
    calls, load = counting()
    here = one.function(load, ttl=100, refresh_mode="background")
    there = other.function(load, ttl=100, refresh_mode="background")
    assert here() == there() == 1
    clock.skip(101)
    assert here() == 1
    runner.until(lambda: runner.kinds("put_value") == ["put_value"] * 2)
    until(lambda: here() == 2)
    # The other one is told, instead of computing a third.
    until(lambda: there() == 2)
    assert len(calls) == 2
    until(lambda: not one.cache(here).storage._computing)


def counting():
    """The calls of a function, and the function, which returns how many there have been."""
    calls = []

    def load():
        calls.append(1)
        return len(calls)

    return calls, load


class Held:
    """A function whose second call waits to be let go."""

    def __init__(self):
        self.calls = 0
        self.begun, self.go = threading.Event(), threading.Event()

    def function(self):
        def load():
            self.calls += 1
            number = self.calls
            if number == 2:
                self.begun.set()
                self.go.wait(LIMIT)
            return number

        return load

    def until_begun(self, call):
        """Call until the value is old, and is computed anew."""
        until(lambda: call() == 1 and self.begun.is_set())


@newer
def test_who_refreshes_does_not_make_others_wait(one, other, clock):
    held = Held()
    here = one.function(held.function(), ttl=100, refresh_mode="background")
    there = other.function(held.function(), ttl=100, refresh_mode="background")
    assert here() == there() == 1
    clock.skip(101)
    held.until_begun(here)
    assert here() == there() == 1
    held.go.set()
    until(lambda: here() == there() == 2)
    assert held.calls == 2


@newer
def test_who_refreshes_here_does_not_make_others_wait_when_the_old_value_goes(runner, one, clock):
    held = Held()
    here = one.function(held.function(), ttl=100, refresh_mode="background")
    assert here() == 1
    runner.until(lambda: not runner.claims)
    clock.skip(101)
    held.until_begun(here)
    # As when another value has taken its place.
    runner.bump()
    assert InThread(here).result() == 1
    held.go.set()
    until(lambda: here() > 1)


@newer
def test_what_others_have_refreshed_since_it_was_read_is_not_refreshed_again(
    runner, one, other, clock
):
    calls, load = counting()
    here = one.function(load, ttl=100, refresh_mode="background")
    there = other.function(load, ttl=100, refresh_mode="background")
    assert here() == there() == 1
    clock.skip(101)
    cache, key = one.cache(here), one.key(here)
    assert cache.read_result_and_freshness(key).is_stale
    until(lambda: there() == 2)
    runner.until(lambda: not runner.claims)
    # Here it was read before, and now it is known to have been replaced.
    runner.bump(f"{cache.storage.function_id}/{key}")
    assert not cache.compute_value_lock(key).acquire(blocking=False)
    assert here() == 2
    # It is here and new, which it was not when it was read.
    assert not cache.compute_value_lock(key).acquire(blocking=False)
    assert not cache.storage._computing
    assert len(calls) == 2


@newer
def test_a_values_age_is_told_by_no_other_machines_clock(one, other, monkeypatch):
    def load():
        return 1

    here = one.function(load, ttl=1000, refresh_mode="background")
    with monkeypatch.context() as elsewhere:
        timer = time.monotonic
        elsewhere.setattr(cache_utils, "TTLCACHE_TIMER", lambda: timer() - 1e6)
        here()
    there = other.function(load, ttl=1000, refresh_mode="background")
    cache = other.cache(there)
    read = cache.read_result_and_freshness(other.key(there))
    assert not read.is_stale
    assert 0 <= time.monotonic() - read.result.stored_at < 1000
    assert not cache.read_result_and_freshness(other.key(there)).is_stale


@newer
def test_a_refresh_without_the_runner_is_done_here(runner, one, clock):
    _, load = counting()
    function = one.function(load, ttl=100, refresh_mode="background")
    assert function() == 1
    runner.close()
    clock.skip(101)
    assert function() == 1
    until(lambda: function() == 2)


@newer
def test_a_refreshed_value_that_was_cleared_meanwhile_is_dropped(one, clock):
    held = Held()
    function = one.function(held.function(), ttl=100, refresh_mode="background")
    function()
    clock.skip(101)
    held.until_begun(function)
    function.clear()
    held.go.set()
    until(lambda: not one.cache(function).storage._computing)
    assert function() == 3


# --- coroutines ---------------------------------------------------------------------------


@newer
def test_coroutines_are_computed_once_in_the_cluster(runner, one, other):
    calls = []
    begun, go = threading.Event(), threading.Event()

    async def load(x):
        calls.append(x)
        begun.set()
        await asyncio.to_thread(go.wait, LIMIT)
        return [x, len(calls)]

    async def twice(function):
        return await asyncio.gather(function(1), function(1))

    here, there = one.function(load), other.function(load)
    first = InThread(lambda: asyncio.run(twice(here)))
    begun.wait(LIMIT)
    second = InThread(lambda: asyncio.run(twice(there)))
    runner.until(lambda: runner.waiting)
    go.set()
    assert first.result() == second.result() == [[1, 1]] * 2
    assert calls == [1]
    assert not one.cache(here)._async_locks
    assert not runner.claims


@newer
def test_a_coroutine_that_fails_lets_the_next_one_try(one, other):
    calls = []

    async def load():
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("no luck")
        return len(calls)

    with pytest.raises(ValueError, match="no luck"):
        asyncio.run(one.function(load)())
    assert asyncio.run(other.function(load)()) == 2


@newer
def test_a_coroutine_whose_run_is_to_stop_frees_those_who_wait(runner, one, other, monkeypatch):
    class Stop(BaseException):
        pass

    stopping = []

    def check():
        if stopping:
            raise Stop

    async def load():
        return 1

    holding, waiting = other.function(load), one.function(load)
    cache = other.cache(holding)
    key = other.key(holding)
    future, _, _ = cache.claim_async_compute(key)
    monkeypatch.setattr(script_run_context, "get_run_yield_check", lambda: check)
    thread = InThread(lambda: asyncio.run(waiting()))
    runner.until(lambda: runner.waiting)
    stopping.append(1)
    with pytest.raises(Stop):
        thread.result()
    assert not one.cache(waiting)._async_compute_futures
    cache.complete_async_compute(key, future)
    stopping.clear()
    assert asyncio.run(waiting()) == 1


def until(condition):
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.005)


def test_the_lock_is_called_as_streamlit_calls_locks():
    ours = inspect.signature(cache_locks.ComputeLock.acquire)
    assert list(ours.parameters)[1:] == ["blocking", "timeout"]
