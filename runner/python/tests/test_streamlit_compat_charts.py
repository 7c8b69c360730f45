"""Charts that are compared with their schema once, against the altair that is installed."""

import datetime
import sys
import types

import pytest
from fleet import Browser, run, worker
from streamfleet_worker import streamlit_compat_charts as charts


@pytest.fixture
def schemapi(monkeypatch):
    """altair's own, as it is without us afterwards."""
    import altair as alt
    from altair.utils import schemapi

    original = schemapi._get_errors_from_spec
    while isinstance(original, charts._Remembering):
        original = original._find
    monkeypatch.setattr(schemapi, "_get_errors_from_spec", original)
    monkeypatch.setattr(charts, "_seen", set())
    schemapi.alt = alt
    yield schemapi
    del schemapi.alt


@pytest.fixture
def counted(schemapi, monkeypatch):
    """How often altair has looked."""
    original = schemapi._get_errors_from_spec
    calls = []

    def count(spec, schema, rootschema=None):
        calls.append(spec)
        return original(spec, schema, rootschema=rootschema)

    monkeypatch.setattr(schemapi, "_get_errors_from_spec", count)
    charts.look()
    return calls


def test_this_altair_is_as_known(schemapi):
    assert charts.is_as_known(schemapi)


def test_what_is_right_is_looked_at_once(counted, schemapi):
    def chart():
        return schemapi.alt.Chart("data.csv").mark_bar().encode(x="a:Q", y="b:Q").to_dict()

    first = chart()
    looked = len(counted)
    assert looked > 0
    assert chart() == first
    assert len(counted) == looked


def test_what_is_wrong_fails_each_time_as_it_ever_did(counted, schemapi):
    def fail(**options):
        with pytest.raises(schemapi.SchemaValidationError) as failure:
            schemapi.alt.Axis(**options)
        frames = [frame.name for frame in failure.traceback]
        return str(failure.value), frames

    remembered = [fail(grid="yes") for _ in range(2)]
    counted.clear()
    schemapi._get_errors_from_spec = schemapi._get_errors_from_spec._find
    assert remembered == [fail(grid="yes")] * 2
    assert len(counted) == 1


def test_equal_values_of_other_types_are_others(counted, schemapi):
    schemapi.alt.Axis(grid=True)
    with pytest.raises(schemapi.SchemaValidationError):
        schemapi.alt.Axis(grid=1)
    schemapi.alt.Axis(grid=True)


def test_what_can_not_be_compared_is_looked_at(counted, schemapi):
    schema = {"type": "object"}
    spec = {"when": datetime.date(2026, 1, 1)}
    for _ in range(2):
        assert not schemapi._get_errors_from_spec(spec, schema, rootschema=schema)
    assert len(counted) == 2


def test_it_does_not_remember_without_end(counted, schemapi, monkeypatch):
    monkeypatch.setattr(charts, "_MAX_REMEMBERED", 3)
    for size in range(10):
        schemapi.alt.Axis(labelFontSize=size)
    assert len(schemapi._get_errors_from_spec._right) <= 3


def test_an_altair_that_is_not_as_known_is_left_alone(monkeypatch):
    other = types.ModuleType("altair.utils.schemapi")
    other.SchemaBase = object
    other._get_errors_from_spec = original = lambda spec, schema: []
    monkeypatch.setitem(sys.modules, "altair.utils.schemapi", other)
    monkeypatch.setattr(charts, "_seen", set())
    charts.look()
    assert other._get_errors_from_spec is original


def test_altair_is_not_loaded_for_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "altair.utils.schemapi", raising=False)
    monkeypatch.setattr(charts, "_seen", set())
    charts.look()
    assert charts._seen == set()


APP = """
import altair as alt
st.line_chart({"a": [1, 2, 3]})
st.button("Again")
alt.Axis(grid="yes")
"""


def test_an_apps_charts(app, schemapi):
    path = app(APP)

    async def scenario():
        async with worker(path) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            button = tab.id("Again")
            pages = []
            for _ in range(3):
                tab.messages.clear()
                await tab.rerun(button)
                pages.append([(kind, str(element)) for kind, element, _ in tab.elements()])
            return pages

    first, *others = run(scenario())
    assert isinstance(schemapi._get_errors_from_spec, charts._Remembering)
    assert [kind for kind, _ in first][-1] == "exception"
    assert "SchemaValidationError" in first[-1][1]
    assert others == [first, first]
