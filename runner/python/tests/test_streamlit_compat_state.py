"""What widgets look up in `st.session_state` is what Streamlit would have shown them."""

import random

import pytest
from streamfleet_worker.streamlit_compat_state import FleetSafeSessionState, _Lookup
from streamlit.proto.WidgetStates_pb2 import WidgetState
from streamlit.runtime.state import SessionState
from streamlit.runtime.state.common import WidgetMetadata
from streamlit.runtime.state.session_state import STREAMLIT_INTERNAL_KEY_PREFIX

KEYS = [*"abcdef", "None", f"{STREAMLIT_INTERNAL_KEY_PREFIX}_internal", "$$ID-0-a"]
IDS = [f"$$ID-{version}-{key}" for version in (0, 1) for key in (*"abcd", "None")]


def metadata(widget_id):
    return WidgetMetadata(
        id=widget_id,
        deserializer=lambda value: value,
        serializer=lambda value: value,
        value_type="int_value",
    )


def from_browser(state, widget_id, value):
    state._new_widget_state.set_widget_from_proto(WidgetState(id=widget_id, int_value=value))


def register(state, widget_id):
    state._new_widget_state.set_widget_metadata(metadata(widget_id))


def change(state, draw):
    """Any of what happens to a session's state, in any order."""
    key, widget_id, value = draw.choice(KEYS), draw.choice(IDS), draw.choice([None, 1, 2, 3])
    mapper = state._key_id_mapper
    match draw.randrange(9):
        case 0:
            state._old_state[key] = value
        case 1:
            state._new_session_state[key] = value
        case 2:
            state._old_state[widget_id] = value
        case 3:
            from_browser(state, widget_id, value or 0)
        case 4:
            register(state, widget_id)
        case 5:
            state._set_key_widget_mapping(widget_id, widget_id.rsplit("-", 1)[1])
        case 6 if key in mapper:
            mapper.delete(key)
        case 7:
            state._compact_state()
        case 8:
            for place in (
                state._old_state,
                state._new_session_state,
                state._new_widget_state.states,
            ):
                place.pop(draw.choice([key, widget_id]), None)


def entries(mapping):
    return {key: mapping[key] for key in (*KEYS, *IDS, "nowhere") if key in mapping}


def has_several_values(state):
    """Whether a key's values lie under several ids; which of them Streamlit takes is up to chance."""
    ids = [wid for wid in state._keys() if wid in state._key_id_mapper.id_key_mapping]
    keys = [state._key_id_mapper.id_key_mapping[wid] for wid in ids]
    return len(keys) != len(set(keys))


@pytest.mark.parametrize("seed", range(200))
def test_lookups_find_what_is_in_the_whole(seed):
    draw = random.Random(seed)
    state = SessionState()
    safe = FleetSafeSessionState(state, lambda: None)
    compared = 0
    for _ in range(60):
        change(state, draw)
        try:
            whole = state.filtered_state
        except KeyError:  # Streamlit's own, for some states that don't come about
            continue
        if not has_several_values(state):
            assert entries(_Lookup(safe)) == entries(whole)
            compared += 1
        assert set(_Lookup(safe)) == set(whole)
        assert len(_Lookup(safe)) == len(whole)
    assert compared > 10


def test_only_widgets_look_up():
    state = SessionState()
    state._new_session_state["a"] = 1
    safe = FleetSafeSessionState(state, lambda: None)
    assert type(safe.filtered_state) is dict
    asks = {"__name__": "streamlit.elements.widgets.number_input", "safe": safe}
    exec("found = safe.filtered_state", asks)
    assert type(asks["found"]) is _Lookup
    assert dict(asks["found"]) == {"a": 1}
