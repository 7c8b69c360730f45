"""The part of `streamlit_compat` that is about what a session holds: private names, and their check."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from typing import TYPE_CHECKING, Any, Final

from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.runtime.app_session import AppSession
from streamlit.runtime.pages_manager import PagesManager
from streamlit.runtime.session_manager import SessionInfo
from streamlit.runtime.state import SessionState
from streamlit.runtime.state.common import WidgetMetadata, is_element_id
from streamlit.runtime.state.session_state import (
    STREAMLIT_INTERNAL_KEY_PREFIX,
    KeyIdMapper,
    Value,
    WStates,
)
from streamlit.runtime.websocket_session_manager import WebsocketSessionManager

from streamfleet_worker.core import Core

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamlit.proto.WidgetStates_pb2 import WidgetState
    from streamlit.runtime.script_data import ScriptData


def seams() -> list[tuple[str, bool]]:
    """What this module builds on, and whether this Streamlit has it."""

    def parameters(function: Any) -> list[str]:
        return list(inspect.signature(function).parameters)

    names = [
        ("PagesManager", PagesManager, "set_current_page_script_hash"),
        ("KeyIdMapper", KeyIdMapper, "set_key_id_mapping"),
        ("KeyIdMapper", KeyIdMapper, "id_key_mapping"),
        ("WStates", WStates, "get_serialized"),
        ("WStates", WStates, "set_widget_from_proto"),
    ]
    found = [(f"{owner}.{name}", hasattr(thing, name)) for owner, thing, name in names]
    state = SessionState()
    found += [
        (f"SessionState.{name}", hasattr(state, name))
        for name in (
            "_old_state",
            "_new_session_state",
            "_new_widget_state",
            "_key_id_mapper",
            "_query_param_bound_widget_ids",
        )
    ]
    tracker = getattr(state, "_persist_tracker", None)
    found += [
        (f"PersistedWidgetTracker.{name}", hasattr(tracker, name))
        for name in (_TRACKED if tracker is not None else ())
    ]
    found.append(("KeyIdMapper._key_id_mapping", hasattr(state._key_id_mapper, "_key_id_mapping")))
    found += [
        (f"WebsocketSessionManager.__init__({name})", name in parameters(WebsocketSessionManager))
        for name in ("session_storage", "uploaded_file_manager", "script_cache")
    ]
    found += [
        (f"WidgetMetadata({name})", name in parameters(WidgetMetadata))
        for name in ("id", "deserializer", "serializer", "value_type")
    ]
    return found


# What newer versions note of widgets that keep their value when they are not shown.
_TRACKED: Final = ("_scopes", "_widget_pages", "_value_pages", "_pending_resets")
# Kinds of widget values that last for one run.
_TRIGGERS: Final = frozenset(
    {"trigger_value", "string_trigger_value", "chat_input_value", "json_trigger_value"}
)


@dataclasses.dataclass(slots=True)
class SessionContent:
    """All of a session that is worth keeping."""

    core: Core
    # Entries of `st.session_state` that aren't widgets' values, and under their ids the values
    # of widgets that take none from the browser.
    values: dict[str, Any]
    # Widgets whose value has no form that a browser could send: key or id, value, and why.
    unserializable: list[tuple[str, Any, Exception]]


def read_content(session: AppSession) -> SessionContent:
    """What the session holds, its values not copied. Only at rest."""
    state = session._session_state
    widgets = state._new_widget_state
    ids = state._key_id_mapper._key_id_mapping
    values: dict[str, Any] = {}
    unserializable: list[tuple[str, Any, Exception]] = []

    client_state = ClientState()
    client_state.CopyFrom(session._client_state)
    client_state.ClearField("widget_states")
    for widget_id, value in _widget_values(state):
        metadata = widgets.widget_metadata.get(widget_id)
        if metadata is not None and metadata.value_type in _TRIGGERS:
            continue
        if metadata is not None and getattr(metadata, "disabled", False):
            # From the browser it would be taken for a forgery.
            with contextlib.suppress(KeyError):
                values[widget_id] = state._getitem(widget_id, _key_of(state, widget_id))
        try:
            proto = WStates({widget_id: value}, widgets.widget_metadata).get_serialized(widget_id)
        except Exception as error:  # noqa: BLE001 - components bring serializers of their own
            unserializable.append((_key_of(state, widget_id) or widget_id, value, error))
            continue
        if proto is not None and proto.WhichOneof("value") not in _TRIGGERS:
            client_state.widget_states.widgets.append(proto)

    for key, value in (*state._old_state.items(), *state._new_session_state.items()):
        if is_element_id(key) or key.startswith(STREAMLIT_INTERNAL_KEY_PREFIX):
            continue
        values[key] = value
    for key in state._new_session_state:
        if ids.get(key) in widgets.widget_metadata and _is_shown(state, ids[key]):
            # Set for the widget, whose value it has become; what the key held before it was
            # a widget's lies below.
            if key in state._old_state:
                values[key] = state._old_state[key]
            else:
                values.pop(key, None)

    tracker = getattr(state, "_persist_tracker", None)
    keys = state._key_id_mapper.id_key_mapping
    return SessionContent(
        core=Core(
            client_state=client_state,
            ids=dict(ids),
            former_ids=(
                {wid: key for wid, key in keys.items() if ids.get(key) != wid}
                if len(keys) != len(ids)
                else {}
            ),
            bound_ids=sorted(state._query_param_bound_widget_ids),
            persisted=(
                {}
                if tracker is None
                else {
                    name: sorted(noted) if isinstance(noted, set) else dict(noted)
                    for name in _TRACKED
                    if (noted := getattr(tracker, name))
                }
            ),
            user_info=session._user_info,
            run_on_save=session._run_on_save,
        ),
        values=values,
        unserializable=unserializable,
    )


def _widget_values(state: SessionState) -> Iterator[tuple[str, Any]]:
    """Each widget's value in effect, as Streamlit's `WState`, in the order of their ids."""
    new = state._new_widget_state.states
    shown = new.keys() | {key for key in state._old_state if is_element_id(key)}
    for widget_id in sorted(shown):
        key = _key_of(state, widget_id)
        if key is not None and key in state._new_session_state:
            yield widget_id, Value(state._new_session_state[key])
        elif widget_id in new:
            yield widget_id, new[widget_id]
        else:
            yield widget_id, Value(state._old_state[widget_id])


def _key_of(state: SessionState, widget_id: str) -> str | None:
    return state._key_id_mapper.id_key_mapping.get(widget_id)


def _is_shown(state: SessionState, widget_id: str) -> bool:
    return widget_id in state._new_widget_state.states or widget_id in state._old_state


def current_client_state(session: AppSession) -> ClientState:
    """What the browser would send to have the script run once more, with nothing pressed."""
    return read_content(session).core.client_state


def build_session(
    manager: WebsocketSessionManager, script_data: ScriptData, session_id: str, core: Core
) -> AppSession:
    """A session as Streamlit's session manager makes them, with this state of Streamlit's own."""
    options = {"on_script_error": getattr(manager, "_on_script_error", None)}
    if "on_script_error" not in inspect.signature(AppSession).parameters:
        options = {}  # 1.57
    session = AppSession(
        script_data=script_data,
        uploaded_file_manager=manager._uploaded_file_mgr,
        script_cache=manager._script_cache,
        message_enqueued_callback=None,
        user_info=core.user_info,
        session_id_override=session_id,
        **options,
    )
    # They are registered when it is given to a browser.
    session.disconnect_file_watchers()
    state = session._session_state
    state._key_id_mapper.set_key_id_mapping(core.ids)
    state._key_id_mapper.id_key_mapping.update(core.former_ids)
    state._query_param_bound_widget_ids.update(core.bound_ids)
    tracker = getattr(state, "_persist_tracker", None)
    for name, noted in core.persisted.items():
        if tracker is not None and name in _TRACKED:
            getattr(tracker, name).update(noted)
    for proto in core.client_state.widget_states.widgets:
        state._new_widget_state.set_widget_from_proto(proto)
        state._new_widget_state.set_widget_metadata(_placeholder(proto))
    session._client_state.CopyFrom(core.client_state)
    session._client_state.ClearField("widget_states")
    # Its first run is none on another page.
    session._pages_manager.set_current_page_script_hash(core.client_state.page_script_hash)
    session._run_on_save = core.run_on_save
    return session


def add_values(session: AppSession, values: dict[str, Any]) -> None:
    """Give a session that `build_session` made its entries of `st.session_state`. Only at rest."""
    session._session_state._old_state.update(values)


def forget_state(session: AppSession) -> None:
    """Leave a session that `build_session` made as one that has never run. Only at rest."""
    session._session_state.clear()
    session._client_state.Clear()


def uploaded_files_of(manager: WebsocketSessionManager) -> Any:
    """The manager of uploaded files that the session manager was made with."""
    return manager._uploaded_file_mgr


def store_session(manager: WebsocketSessionManager, session: AppSession) -> None:
    """Have the session manager find the session, as one whose browser was disconnected."""
    manager._session_storage.save(SessionInfo(client=None, session=session))


def drop_stored_session(manager: WebsocketSessionManager, session_id: str) -> None:
    """Undo `store_session`, and end the session."""
    info = manager._session_storage.get(session_id)
    if info is not None:
        manager._session_storage.delete(session_id)
        info.session.shutdown()


def _placeholder(proto: WidgetState) -> WidgetMetadata[Any]:
    """Stands for a widget of the page until the script has made it again.

    Without it Streamlit would take the widget for one that is gone. Its value can't be read
    meanwhile, which is what Streamlit expects of a widget that it knows only from a browser.
    """

    def unreadable(_: Any) -> Any:
        raise KeyError(proto.id)

    kind: Any = proto.WhichOneof("value") or "string_value"
    return WidgetMetadata(
        id=proto.id, deserializer=unreadable, serializer=unreadable, value_type=kind
    )
