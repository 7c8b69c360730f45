"""So many scripts at a time, and each session's turn."""

import asyncio
import sys
import threading
from types import SimpleNamespace

import pytest
from fleet import LIMIT, Browser, poll, run, worker
from streamfleet_worker.turns import Turns

# Each run says when it begins, and ends when it is told to.
APP = """
import gates
number = st.session_state.setdefault("number", gates.next_number())
runs = st.session_state.runs = st.session_state.get("runs", 0) + 1
st.button("Run")
gates.enter(f"{number}.{runs}")
if runs == 2 and gates.reruns:
    st.rerun()
st.text(f"done {runs}")
"""


class Gates:
    """What scripts tell of themselves and wait for, as the module `gates`."""

    def __init__(self):
        self.entered = []
        self.inside = self.most = 0
        # What scripts see, set by the fixture.
        self.module = None
        self._numbers = iter(range(1, 100))
        self._lock = threading.Lock()
        self._open = threading.Semaphore(0)

    def next_number(self):
        return next(self._numbers)

    def enter(self, name):
        with self._lock:
            self.entered.append(name)
            self.inside += 1
            self.most = max(self.most, self.inside)
        assert self._open.acquire(timeout=LIMIT)
        with self._lock:
            self.inside -= 1

    def open(self, runs):
        self._open.release(runs)


@pytest.fixture
def gates(monkeypatch):
    found = Gates()
    found.module = SimpleNamespace(next_number=found.next_number, enter=found.enter, reruns=False)
    monkeypatch.setitem(sys.modules, "gates", found.module)
    return found


def tabs(host, number):
    ids = [f"{n:08}-1111-4111-8111-111111111111" for n in range(1, number + 1)]
    return [Browser(host, session_id) for session_id in ids]


async def opened(host, gates, number):
    """So many tabs whose first run is over."""
    found = tabs(host, number)
    for tab in found:
        await tab.open()
        gates.open(1)
        await tab.rerun()
    gates.entered.clear()
    return found


def waiting(host):
    return host.sessions.events.turns.waiting


def test_no_more_at_a_time_and_in_order(app, gates):
    script = app(APP)

    async def scenario():
        async with worker(script, max_concurrent_runs=2) as host:
            visitors = await opened(host, gates, 5)
            clicks = []
            for position, tab in enumerate(visitors):
                clicks.append(asyncio.create_task(tab.click("Run")))
                await poll(lambda n=position: len(gates.entered) + waiting(host) == n + 1)
            assert (gates.entered, waiting(host)) == (["1.2", "2.2"], 3)
            for begun in range(3, 6):
                gates.open(1)
                await poll(lambda n=begun: len(gates.entered) == n)
            gates.open(2)
            await asyncio.gather(*clicks)
            assert gates.entered == [f"{n}.2" for n in range(1, 6)]
            assert gates.most == 2
            # The wait is part of what the runner is told.
            last = visitors[-1].runs[-1]
            assert last.started_at_us - last.asked_at_us > 0

    run(scenario())


def test_who_asks_again_goes_to_the_back(app, gates):
    script = app(APP)

    async def scenario():
        async with worker(script, max_concurrent_runs=1) as host:
            one, other = await opened(host, gates, 2)
            gates.module.reruns = True
            first = asyncio.create_task(one.click("Run"))
            await poll(lambda: gates.entered == ["1.2"])
            second = asyncio.create_task(other.rerun())
            await poll(lambda: waiting(host) == 1)
            gates.open(1)
            await poll(lambda: gates.entered == ["1.2", "2.2"] and waiting(host) == 1)
            gates.open(3)
            await asyncio.gather(first, second)
            # The one's own next run comes after the other's.
            assert gates.entered == ["1.2", "2.2", "1.3", "2.3"]

    run(scenario())


def test_who_clicks_again_while_waiting_waits_once(app, gates):
    script = app(APP)

    async def scenario():
        async with worker(script, max_concurrent_runs=1) as host:
            one, other, third = await opened(host, gates, 3)
            first = asyncio.create_task(one.click("Run"))
            await poll(lambda: gates.entered == ["1.2"])
            other.send(other.rerun_message())
            await poll(lambda: waiting(host) == 1)
            last = asyncio.create_task(third.click("Run"))
            await poll(lambda: waiting(host) == 2)
            again = asyncio.create_task(other.click("Run"))
            former = host.session(other.session_id)._scriptrunner
            await poll(lambda: host.session(other.session_id)._scriptrunner is not former)
            assert waiting(host) == 2
            gates.open(3)
            await asyncio.gather(first, again, last)
            assert [name.split(".")[0] for name in gates.entered] == ["1", "2", "3"]

    run(scenario())


def test_who_waits_can_be_stopped_and_leave(app, gates):
    script = app(APP)

    async def scenario():
        async with worker(script, max_concurrent_runs=1) as host:
            one, other = await opened(host, gates, 2)
            first = asyncio.create_task(one.click("Run"))
            await poll(lambda: gates.entered == ["1.2"])
            other.send(other.rerun_message())
            await poll(lambda: waiting(host) == 1)
            host.session(other.session_id).request_script_stop()
            await poll(lambda: host.session(other.session_id).is_at_rest)
            assert (gates.entered, waiting(host)) == (["1.2"], 0)
            gates.open(1)
            await first
            # Nothing of it is left in anybody's way.
            gates.open(1)
            await other.rerun()
            assert gates.entered[1:] == ["2.2"]

    run(scenario())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    "script", ["raise ValueError", "import sys; sys.exit()", "st.stop()", "def", "st.text('end')"]
)
def test_however_a_run_ends_the_next_has_its_turn(app, script):
    path = app(script)

    async def scenario():
        async with worker(path, max_concurrent_runs=1) as host:
            for tab in tabs(host, 3):
                await tab.open()
                await tab.rerun()
                await poll(lambda tab=tab: len(tab.runs) == 1)

    run(scenario())


class Script:
    """A thread that takes its turn, and says so."""

    def __init__(self, turns, name):
        self.name = name
        self._turns = turns
        self.thread = threading.Thread(target=turns.take, args=(name,))

    def comes(self, waiting):
        self.thread.start()
        while self._turns.waiting != waiting:
            assert self.thread.is_alive()
        return self

    def runs(self):
        self.thread.join(LIMIT)
        return not self.thread.is_alive()


def test_letting_go_is_for_those_who_wait():
    turns = Turns(1)
    turns.take("a")
    turns.let_go("a")
    b = Script(turns, "b").comes(1)
    turns.let_go("b")
    assert b.runs()
    # It has no place to give back.
    turns.give_back("b")
    c = Script(turns, "c").comes(1)
    turns.give_back("a")
    turns.give_back("a")
    assert c.runs()
    turns.give_back("c")
    turns.take("d")
    assert turns.waiting == 0


@pytest.mark.parametrize("has_come", [True, False])
def test_a_successor_has_the_place_in_the_line(has_come):
    turns = Turns(1)
    turns.take("a")
    former = Script(turns, "b").comes(1)
    last = Script(turns, "c").comes(2)
    successor = Script(turns, "b2")
    if has_come:
        successor.comes(3)
    turns.succeed("b", "b2")
    assert former.runs()
    turns.give_back("a")
    if not has_come:
        successor.thread.start()
    assert successor.runs()
    assert last.thread.is_alive()
    turns.give_back("b2")
    assert last.runs()
    # One that is stopped before it comes leaves nothing behind, and nobody succeeds one that runs.
    waits = Script(turns, "e").comes(1)
    turns.succeed("e", "f")
    assert waits.runs()
    turns.give_back("f")
    turns.succeed("c", "d")
    assert turns.waiting == 0
