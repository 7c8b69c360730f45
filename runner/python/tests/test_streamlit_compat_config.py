"""The configuration's numbers, and the statistics of a run that are made without walking it."""

import sys
import types

import pytest
from streamfleet_worker import streamlit_compat, streamlit_compat_config
from streamlit import config
from streamlit.runtime import metrics_util


@pytest.fixture(autouse=True)
def options():
    config.get_config_options(force_reparse=True)
    yield
    config.get_config_options(force_reparse=True)


def test_streamlit_is_as_known():
    assert streamlit_compat.slow_paths() == []


def test_what_is_not_as_known_is_named(monkeypatch):
    monkeypatch.delattr(config, "is_manually_set")
    assert streamlit_compat.slow_paths() == ["config.is_manually_set"]


def test_a_configuration_keeps_its_number():
    number = streamlit_compat_config.number()
    assert config.get_option("theme.base") is None
    assert streamlit_compat_config.number() == number


def test_an_option_that_is_set_makes_another():
    number = streamlit_compat_config.number()
    config.set_option("theme.base", "dark")
    assert streamlit_compat_config.number() != number


def test_loading_makes_another():
    number = streamlit_compat_config.number()
    config.get_config_options(force_reparse=True)
    loaded = streamlit_compat_config.number()
    assert loaded != number
    assert streamlit_compat_config.number() == loaded
    config.set_option("theme.base", "dark")
    assert streamlit_compat_config.number() != loaded


def test_options_that_this_streamlit_does_not_have_are_left_out():
    streamlit_compat.override_options({"theme.base": "dark", "runner.fromTheFuture": 1})
    assert config.get_option("theme.base") == "dark"


def profiles():
    """Ours and Streamlit's, whose sets have no order."""

    def comparable(create):
        message = create(commands=[], exec_time=7, prep_time=3, uncaught_exception="ValueError")
        fields = {}
        for field, value in message.page_profile.ListFields():
            is_set = field.name in {"config", "attributions"}
            fields[field.name] = sorted(value) if is_set else value
        return fields

    return (
        comparable(streamlit_compat_config.create_page_profile_message),
        comparable(metrics_util.create_page_profile_message),
    )


def test_a_pages_profile_is_streamlits():
    ours, streamlits = profiles()
    assert ours == streamlits
    assert ours["exec_time"] == 7


def test_a_pages_profile_follows_the_configuration():
    assert "config" not in profiles()[0] or "theme.base" not in profiles()[0]["config"]
    config.set_option("theme.base", "dark")
    ours, streamlits = profiles()
    assert ours == streamlits
    assert "theme.base" in ours["config"]
    config.get_config_options(force_reparse=True)
    ours, streamlits = profiles()
    assert ours == streamlits


def test_a_pages_profile_follows_what_is_imported(monkeypatch):
    name = next(name for name in metrics_util._ATTRIBUTIONS_TO_CHECK if name not in sys.modules)
    assert name not in profiles()[0].get("attributions", ())
    monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    ours, streamlits = profiles()
    assert ours == streamlits
    assert name in ours["attributions"]
