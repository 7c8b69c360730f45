"""What has changed since the last snapshot."""

import itertools
import threading

import pytest
from streamfleet_worker import recorder
from streamfleet_worker.recorder import Recorder, Unsaved, is_plain
from streamfleet_worker.values import load

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")


class Snapshots:
    """A recorder, and what has been kept by its word."""

    def __init__(self, limit=0, clock=lambda: 0.0):
        self.recorder = Recorder("s", limit, clock)
        self.kept = {}

    def take(self, *, full=False, **values):
        """The keys that changed."""
        changes = self.recorder.compare(values, full=full)
        self.recorder.commit(changes)
        self.unsaved = {entry.key: entry for entry in changes.unsaved}
        self.unsaved_changed = changes.unsaved_changed
        if full:
            self.kept.clear()
        for key in changes.removed:
            del self.kept[key]
        self.kept.update((key, load(data)) for key, data in changes.changed)
        assert self.kept.keys() == values.keys() - self.unsaved.keys()
        return sorted(key for key, _ in changes.changed)


@pytest.fixture
def snapshots():
    return Snapshots()


def test_only_what_changed(snapshots):
    values = {"a": 1, "b": [1, 2], "c": "text", "d": pd.DataFrame({"x": range(5000)})}
    assert snapshots.take(**values) == ["a", "b", "c", "d"]
    assert snapshots.take(**values) == []
    assert snapshots.take(**{**values, "a": 2}) == ["a"]
    assert snapshots.take(**{**values, "a": 2, "b": [1, 2], "d": values["d"].copy()}) == []
    del values["c"]
    assert snapshots.take(**{**values, "a": 2}) == []
    assert snapshots.kept["a"] == 2
    assert snapshots.take(full=True, **values) == ["a", "b", "d"]


@pytest.mark.parametrize(
    ("value", "mutate"),
    [
        ([1], lambda value: value.append(2)),
        ({"a": [1]}, lambda value: value["a"].append(2)),
        ({1}, lambda value: value.add(2)),
        (bytearray(b"a"), lambda value: value.extend(b"b")),
        (np.zeros(10_000), lambda value: value.__setitem__(5, 1)),
        (pd.DataFrame({"x": range(5000)}), lambda value: value.__setitem__("y", 1)),
        (pd.DataFrame({"x": range(5000)}), lambda value: value.at.__setitem__((7, "x"), 1)),
    ],
    ids=["list", "nested", "set", "bytes", "array", "column", "cell"],
)
def test_changes_in_place_are_noticed(snapshots, value, mutate):
    snapshots.take(v=value)
    assert snapshots.take(v=value) == []
    mutate(value)
    assert snapshots.take(v=value) == ["v"]
    assert snapshots.take(v=value) == []


@pytest.mark.parametrize(
    "values",
    [
        *itertools.permutations([1, True, 1.0, 1 + 0j], 2),
        *[(0.0, -0.0), (None, []), ([], None), ("a", b"a"), (None, False), (None, threading.Lock)],
    ],
    ids=repr,
)
def test_equal_is_not_the_same(snapshots, values):
    first, second = values
    snapshots.take(v=first)
    assert snapshots.take(v=second) == ["v"]
    assert type(snapshots.kept["v"]) is type(second)
    assert str(snapshots.kept["v"]) == str(second)


def test_not_a_number_is_itself(snapshots):
    nan = float("nan")
    snapshots.take(v=nan)
    assert snapshots.take(v=nan) == []


def test_what_cant_be_kept_is_named_each_time_and_told_once(snapshots, monkeypatch):
    told = []
    monkeypatch.setattr(recorder._LOGGER, "warning", lambda text, *args: told.append(text % args))
    lock = threading.Lock()
    assert snapshots.take(a=1, lock=lock) == ["a"]
    assert snapshots.unsaved_changed
    assert snapshots.unsaved["lock"].type == "_thread.lock"
    assert "cannot pickle" in snapshots.unsaved["lock"].reason
    assert snapshots.take(a=1, lock=lock) == []
    assert not snapshots.unsaved_changed
    assert list(snapshots.unsaved) == ["lock"]
    (line,) = told
    for word in ("lock", "_thread.lock", "cannot pickle", "st.cache_resource"):
        assert word in line
    # It can be kept, and can't be again.
    assert snapshots.take(a=1, lock=2) == ["lock"]
    assert snapshots.unsaved == {}
    assert snapshots.unsaved_changed
    assert snapshots.take(a=1, lock=lock) == []
    assert snapshots.kept == {"a": 1}
    assert len(told) == 1
    snapshots.take(a=1)
    assert snapshots.unsaved == {}


def test_the_largest_give_way(monkeypatch):
    told = []
    monkeypatch.setattr(recorder._LOGGER, "warning", lambda text, *args: told.append(text % args))
    snapshots = Snapshots(limit=10_000)
    big, middle = "b" * 6000, ["m" * 5000]
    assert snapshots.take(small=1, middle=middle, big=big) == ["middle", "small"]
    assert "larger than" in snapshots.unsaved["big"].reason
    assert sum("max_snapshot_bytes" in line for line in told) == 1
    assert snapshots.take(small=1, middle=middle, big=big) == []
    # There is room.
    assert snapshots.take(small=1, big=big) == ["big"]
    assert snapshots.unsaved == {}
    # And none.
    assert snapshots.take(small=1, big=big, middle=middle) == ["middle"]
    assert snapshots.take(small=1, big="b" * 20_000, middle=middle) == []
    assert "larger than 0.01 MB" in snapshots.unsaved["big"].reason
    assert sum("max_snapshot_bytes" in line for line in told) == 1


def test_a_slow_failure_is_not_tried_again_each_time():
    now = itertools.count(step=0.01)
    snapshots = Snapshots(clock=lambda: next(now))

    class Slow:
        tries = 0

        def __reduce__(self):
            Slow.tries += 1
            if Slow.tries > 1:
                return str, ("better",)
            raise ValueError("not yet")

    value = Slow()
    takes = 0
    while not snapshots.take(v=value):
        assert list(snapshots.unsaved) == ["v"]
        takes += 1
    assert takes == recorder._TRIES_LEFT_OUT + 1
    assert Slow.tries == 2


def test_what_did_not_come_back_is_named_until_it_is_set(snapshots):
    snapshots.recorder.note_lost(Unsaved("a", "unknown", "gone"))
    snapshots.take(b=1)
    assert snapshots.unsaved["a"].reason == "gone"
    snapshots.take(b=1)
    assert list(snapshots.unsaved) == ["a"]
    assert snapshots.take(a=2, b=1) == ["a"]
    assert snapshots.unsaved == {}
    snapshots.take(b=1)
    assert snapshots.unsaved == {}


def test_what_is_plain():
    assert is_plain({"a": 1, "b": [object()], "c": {}})
    assert not is_plain({"a": 1, "b": object()})
