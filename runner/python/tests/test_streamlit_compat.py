"""Against the Streamlit that is installed: run with the oldest and the newest supported one."""

import asyncio

import pytest
import streamlit
from streamfleet_worker import streamlit_compat, streamlit_compat_messages
from streamfleet_worker.errors import AppCannotRunError
from streamlit import config
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.app_session import AppSession
from streamlit.runtime.caching import cache_data_api
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.script_data import ScriptData
from streamlit.runtime.scriptrunner.script_cache import ScriptCache
from streamlit.runtime.state import SessionState


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "app.py"
    path.write_text("import streamlit as st\nst.text('hi')\n")
    config._main_script_path = str(path)
    config.get_config_options(force_reparse=True)
    return str(path)


def test_this_streamlit_is_supported():
    streamlit_compat.check_streamlit()


@pytest.mark.parametrize("version", ["1.56.1", "2.0.0", "0.89"])
def test_other_versions_are_named_with_the_range(monkeypatch, version):
    monkeypatch.setattr(streamlit, "__version__", version)
    with pytest.raises(AppCannotRunError, match=r"1\.57.*2\.0") as error:
        streamlit_compat.check_streamlit()
    assert version in str(error.value)


def test_a_changed_inside_is_named(monkeypatch):
    monkeypatch.delattr(AppSession, "_populate_app_pages")
    with pytest.raises(AppCannotRunError, match=r"AppSession\._populate_app_pages"):
        streamlit_compat.check_streamlit()


def test_a_changed_cache_is_named(monkeypatch):
    monkeypatch.delattr(cache_data_api, "_data_caches")
    with pytest.raises(AppCannotRunError, match=r"cache_data_api\._data_caches"):
        streamlit_compat.check_streamlit()


def test_a_changed_run_is_named(monkeypatch):
    monkeypatch.delattr(SessionState, "maybe_check_serializable")
    with pytest.raises(AppCannotRunError, match=r"SessionState\.maybe_check_serializable"):
        streamlit_compat.check_streamlit()


def test_flags_are_streamlits(script):
    streamlit_compat.load_options(script, ["--server.port", "8599", "--theme.base=dark"])
    assert config.get_option("server.port") == 8599
    assert config.get_option("theme.base") == "dark"
    with pytest.raises(AppCannotRunError, match=r"--server\.prot"):
        streamlit_compat.load_options(script, ["--server.prot", "1"])
    with pytest.raises(AppCannotRunError, match=r"server\.port"):
        streamlit_compat.load_options(script, ["--server.port", "many"])


def test_overrides_leave_the_users_choice_alone_and_survive_a_reload(script):
    streamlit_compat.load_options(script, ["--runner.postScriptGC", "true"])
    streamlit_compat.override_options({"runner.postScriptGC": False, "runner.magicEnabled": False})
    assert config.get_option("runner.postScriptGC") is True
    assert config.get_option("runner.magicEnabled") is False
    streamlit_compat.load_options(script, [])
    assert config.get_option("runner.postScriptGC") is False
    assert config.get_option("runner.magicEnabled") is False


class Host:
    """A session of ours outside of any runtime."""

    def __init__(self, script):
        self.wakes = 0
        session = AppSession(
            script_data=ScriptData(script, False),
            uploaded_file_manager=MemoryUploadedFileManager("/upload"),
            script_cache=ScriptCache(),
            message_enqueued_callback=None,
            user_info={},
        )
        self.session = streamlit_compat.adopt(session)
        self.session.listener = self

    def on_messages(self):
        self.wakes += 1

    def on_rest(self):
        pass

    def before_run(self, client_state, asked):
        return False

    def new_session(self):
        if "run_descriptor" in AppSession._create_new_session_message.__annotations__:
            from streamlit.runtime.scriptrunner import RunDescriptor

            message = self.session._create_new_session_message("page", RunDescriptor.create(["f"]))
            assert list(message.metadata.run.fragment_ids) == ["f"]
            message.ClearField("metadata")
        else:
            message = self.session._create_new_session_message("page", ["f"])
            assert list(message.new_session.fragment_ids_this_run) == ["f"]
            message.new_session.script_run_id = ""
        return message


def in_loop(function):
    async def run():
        return function()

    return asyncio.run(run())


def test_new_session_messages_are_streamlits_and_built_once(script, monkeypatch):
    monkeypatch.setattr(
        streamlit_compat_messages, "new_session", streamlit_compat_messages.NewSessionMessages()
    )
    built = []
    original = AppSession._create_new_session_message

    def counting(self, *args, **kwargs):
        built.append(self)
        return original(self, *args, **kwargs)

    counting.__annotations__ = original.__annotations__
    monkeypatch.setattr(AppSession, "_create_new_session_message", counting)

    def scenario():
        host, other = Host(script), Host(script)
        first, second, third = host.new_session(), host.new_session(), other.new_session()
        assert len(built) == 1, "a message was built the slow way again"
        assert first == second
        assert third.new_session.initialize.session_id == other.session.id
        third.new_session.initialize.session_id = host.session.id
        assert first == third

        config.set_option("theme.primaryColor", "#ff0000")
        themed = host.new_session()
        assert len(built) == 2, "a change of the theme went unnoticed"
        assert themed.new_session.custom_theme.primary_color == "#ff0000"
        assert host.new_session() == themed

    in_loop(scenario)


def test_messages_leave_through_our_way_only(script):
    def scenario():
        host = Host(script)
        message = ForwardMsg()
        message.script_finished = ForwardMsg.FINISHED_SUCCESSFULLY
        host.session._enqueue_forward_msg(message)
        assert host.wakes == 1
        assert host.session.flush_browser_queue() == []
        assert host.session.take_messages() == [message]
        assert host.session.take_messages() == []

    in_loop(scenario)


def test_events_of_a_script_are_handled_in_order_even_past_a_failure(script, monkeypatch):
    handled, reported = [], []

    def handle(self, sender, event, **_):
        if event == "bad":
            raise ValueError(event)
        handled.append(event)

    monkeypatch.setattr(AppSession, "_handle_scriptrunner_event_on_event_loop", handle)

    async def scenario():
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: reported.append(context)
        )
        host = Host(script)
        events = [*range(5), "bad", *range(5, 100)]
        await asyncio.to_thread(
            lambda: [host.session._on_scriptrunner_event(None, event) for event in events]
        )
        while len(handled) < 100:  # noqa: ASYNC110 - Streamlit's handler sets no event
            await asyncio.sleep(0.001)

    asyncio.run(asyncio.wait_for(scenario(), 10))
    assert handled == list(range(100))
    assert len(reported) == 1
