"""Single values as bytes."""

import datetime
import enum
import functools
import importlib.util
import sys
import threading
import types
from pathlib import Path

import pytest
from streamfleet_worker import values
from streamfleet_worker.values import UnsavableError, dump, load, type_name

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")
pa = pytest.importorskip("pyarrow")

UNLIMITED = 1 << 40


def there_and_back(value):
    return load(dump(value, UNLIMITED).to_bytes())


def script_module(source):
    """A script's module as Streamlit makes it, and another in its place when it's read again."""
    module = types.ModuleType("__main__")
    exec(source, module.__dict__)
    return module


@pytest.fixture
def script(monkeypatch):
    def make(source):
        module = script_module(source)
        monkeypatch.setitem(sys.modules, "__main__", module)
        return module

    return make


@pytest.fixture
def no_cloudpickle(monkeypatch):
    monkeypatch.setattr(values, "_pickler_class", values._ByNamePickler)


class Colour(enum.Enum):
    RED = 1


def double(number):
    return 2 * number


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -1,
        1 << 200,
        1.5,
        1j,
        "text",
        b"bytes",
        bytearray(b"bytes" * 2000),
        [1, [2, {"a": (3, {4}, frozenset({5}))}]],
        {1: "a", None: "b"},
        datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc),
        datetime.timedelta(3),
        Colour.RED,
        range(5),
        slice(1, 2),
        pd.Timestamp("2026-01-02"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("with_cloudpickle", [True, False])
def test_plain_values(value, with_cloudpickle, monkeypatch):
    if not with_cloudpickle:
        monkeypatch.setattr(values, "_pickler_class", values._ByNamePickler)
    again = there_and_back(value)
    assert again == value
    assert type(again) is type(value)


def test_a_list_that_holds_itself():
    value = [1]
    value.append(value)
    again = there_and_back(value)
    assert again[1] is again


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame(np.arange(40_000.0).reshape(-1, 4), columns=list("abcd")),
        pd.DataFrame({"a": ["x", None, "long" * 3000], "b": [1, 2, 3]}),
        pd.DataFrame({"a": pd.Series(["x", 1, None], dtype=object)}),
        pd.DataFrame({"a": pd.Categorical(["x", "y", "x"])}),
        pd.DataFrame(),
    ],
    ids=["numbers", "strings", "objects", "categories", "empty"],
)
def test_frames(frame):
    again = there_and_back(frame)
    pd.testing.assert_frame_equal(again, frame)
    if len(again.columns):
        again.iloc[0, 0] = frame.iloc[1, 0]  # It can be written to.


@pytest.mark.parametrize(
    "array",
    [
        np.arange(10_000),
        np.arange(10_000).reshape(100, 100).T,
        np.arange(10_000)[::2],
        np.array(["a", "b"]),
        np.array([1, "a", None], dtype=object),
        np.zeros(0),
    ],
    ids=["plain", "transposed", "strided", "strings", "objects", "empty"],
)
def test_arrays(array):
    again = there_and_back(array)
    assert again.dtype == array.dtype
    assert (again == array).all()
    if again.size:
        again.flat[0] = again.flat[-1]


def test_an_array_that_was_read_only_stays_so():
    array = np.arange(10_000)
    array.flags.writeable = False
    assert not there_and_back(array).flags.writeable


def test_tables():
    table = pa.table({"a": list(range(5000)), "b": ["text"] * 5000})
    assert there_and_back(table) == table


def test_images_and_charts():
    image = pytest.importorskip("PIL.Image").new("RGB", (20, 20), "red")
    assert there_and_back(image).tobytes() == image.tobytes()
    alt = pytest.importorskip("altair")
    chart = alt.Chart(pd.DataFrame({"x": [1]})).mark_bar().encode(x="x")
    assert there_and_back(chart).to_dict() == chart.to_dict()
    if importlib.util.find_spec("plotly"):
        figure = importlib.import_module("plotly.graph_objects").Figure()
        assert there_and_back(figure) == figure


def test_big_arrays_are_not_copied():
    frame = pd.DataFrame(np.random.rand(100_000, 10))
    pickled = dump(frame, UNLIMITED)
    assert len(pickled._in_band) < 10_000
    (buffer,) = pickled._buffers
    assert np.shares_memory(np.frombuffer(buffer), frame.to_numpy())
    digest = pickled.digest()
    assert dump(frame, UNLIMITED).digest() == digest
    frame.iloc[5, 5] = 2.0
    assert dump(frame, UNLIMITED).digest() != digest


SCRIPT = """
import dataclasses, enum, functools
@dataclasses.dataclass
class Point:
    x: int
    def twice(self):
        return helper(self.x)
class Colour(enum.Enum):
    RED = 1
def helper(n):
    return 2 * n
part = functools.partial(helper, 4)
triple = lambda n: 3 * n
"""


@pytest.mark.parametrize("name", ["Point", "Colour", "helper", "part", "triple"])
def test_what_the_script_defines_goes_by_value(script, name):
    pickled = dump(getattr(script(SCRIPT), name), UNLIMITED).to_bytes()
    # Another session's script has been here since.
    script("class Point: pass\nclass Colour: pass\ndef helper(n): return None")
    again = load(pickled)
    works = {
        "Point": lambda: again(3).twice() == 6,
        "Colour": lambda: again.RED.value == 1,
        "helper": lambda: again(3) == 6,
        "part": lambda: again() == 8,
        "triple": lambda: again(3) == 9,
    }
    assert works[name]()


@pytest.mark.parametrize("name", ["Point", "Colour", "helper", "part", "triple"])
@pytest.mark.usefixtures("no_cloudpickle")
def test_without_cloudpickle_what_the_script_defines_is_refused(script, name):
    with pytest.raises(UnsavableError, match=r"defined in the script.*cloudpickle"):
        dump([getattr(script(SCRIPT), name)], UNLIMITED)


@pytest.mark.usefixtures("no_cloudpickle")
def test_without_cloudpickle_an_instance_of_the_scripts_is_refused(script):
    with pytest.raises(UnsavableError, match="Point is defined in the script"):
        dump({"a": script(SCRIPT).Point(1)}, UNLIMITED)
    assert there_and_back(functools.partial(double, 4))() == 8


class Grumpy:
    def __init__(self, error):
        self.error = error

    def __reduce__(self):
        raise self.error


def deep():
    value = []
    for _ in range(200_000):
        value = [value]
    return value


def generator():
    yield


_file = Path(__file__).open()  # noqa: SIM115 - its being open is the point


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (threading.Lock(), r"TypeError: cannot pickle '_thread.lock' object"),
        (generator(), "TypeError: cannot pickle 'generator' object"),
        (_file, "TypeError: cannot pickle an open file|cannot pickle .*TextIO"),
        (Grumpy(ValueError("no")), "ValueError: no"),
        (Grumpy(SystemExit(3)), "SystemExit: 3"),
        (Grumpy(KeyboardInterrupt()), "KeyboardInterrupt"),
        (Grumpy(OSError("first line\nsecond")), "OSError: first line$"),
        ({"deep": [deep()]}, "recursion"),
        (sys._getframe(), "TypeError: cannot pickle 'frame' object"),
    ],
    ids=["lock", "generator", "file", "error", "exit", "interrupt", "lines", "deep", "frame"],
)
@pytest.mark.parametrize("with_cloudpickle", [True, False])
def test_what_cant_be_pickled_says_why(value, reason, with_cloudpickle, monkeypatch):
    if not with_cloudpickle:
        monkeypatch.setattr(values, "_pickler_class", values._ByNamePickler)
    with pytest.raises(UnsavableError, match=reason):
        dump(value, UNLIMITED)


@pytest.mark.parametrize(
    "value",
    ["x" * 2000, b"x" * 2000, ["x" * 2000], np.zeros(2000), list(range(2000))],
    ids=["text", "bytes", "list", "array", "numbers"],
)
def test_a_limit_on_size(value):
    with pytest.raises(UnsavableError, match=r"larger than 0.001 MB"):
        dump(value, 1000)
    assert dump(value, 100_000).size < 20_000


def test_a_pickle_is_given_up_at_the_limit():
    written = []

    class Endless:
        def __reduce__(self):
            written.append(1)
            return list, (), None, ("x" * 100_000 + str(n) for n in range(100_000))

    with pytest.raises(UnsavableError, match="larger than"):
        dump(Endless(), 1_000_000)


def test_other_bytes_are_refused():
    with pytest.raises(ValueError, match="not a pickled value"):
        load(b"\x02abc")


def test_types_in_full():
    assert type_name(1) == "int"
    assert type_name(pd.DataFrame()).startswith("pandas.")
    assert type_name(Colour.RED) == f"{__name__}.Colour"
