"""The part of `streamlit_compat` that is about `st.session_state`: private names, and their check.

Most of Streamlit's widgets look whether the script has set their value to None, and to do so have
a dict made of all of the session's values. A page of two hundred inputs spends three quarters of its
run on that. Here they are given something that looks up only what it is asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

from streamlit.runtime.state import SessionState
from streamlit.runtime.state.common import is_element_id, is_keyed_element_id
from streamlit.runtime.state.safe_session_state import SafeSessionState
from streamlit.runtime.state.session_state import STREAMLIT_INTERNAL_KEY_PREFIX, KeyIdMapper

# Whoever is in these modules asks for single keys.
_WIDGETS: Final = "streamlit.elements.widgets."
# What `filtered_state` uses.
_USED: Final = {
    "_keys",
    "_key_id_mapper",
    "id_key_mapping",
    "is_element_id",
    "is_keyed_element_id",
    "_is_internal_key",
    "KeyError",
}


def seams() -> list[tuple[str, bool]]:
    """What this module builds on, and whether this Streamlit has it."""

    def used(state_type: Any) -> set[str]:
        return set(state_type.filtered_state.fget.__code__.co_names)

    safely = {"_lock", "_state", "filtered_state"}
    return [
        ("SessionState.filtered_state", used(SessionState) == _USED),
        ("SafeSessionState.filtered_state", used(SafeSessionState) == safely),
        ("KeyIdMapper.get_id_from_key", hasattr(KeyIdMapper, "get_id_from_key")),
    ]


class FleetSafeSessionState(SafeSessionState):
    """Answers widgets one by one."""

    @property
    def filtered_state(self) -> Any:
        """The combined session and widget state, excluding keyless widgets; a dict, but for widgets."""
        if sys._getframe(1).f_globals.get("__name__", "").startswith(_WIDGETS):
            return _Lookup(self)
        return super().filtered_state


class _Lookup(Mapping[str, Any]):
    """What `filtered_state` holds, looked up when it is asked for."""

    def __init__(self, safe: FleetSafeSessionState) -> None:
        self._safe = safe

    def __getitem__(self, key: str) -> Any:
        with self._safe._lock:
            return _value(self._safe._state, key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._whole())

    def __len__(self) -> int:
        return len(self._whole())

    def _whole(self) -> dict[str, Any]:
        with self._safe._lock:
            return self._safe._state.filtered_state


def _value(state: SessionState, key: str) -> Any:
    """The value that `filtered_state` has under this key. Raises `KeyError` if it has none."""
    mapper = state._key_id_mapper
    widget_id = mapper.get_id_from_key(key)
    if widget_id is None:
        is_single = not is_element_id(key) and not key.startswith(STREAMLIT_INTERNAL_KEY_PREFIX)
    else:
        is_single = is_keyed_element_id(widget_id) and mapper.id_key_mapping.get(widget_id) == key
    if is_single and len(mapper.id_key_mapping) == len(mapper._key_id_mapping):
        return state[key]
    # For one, a widget had another id before, under which its value may still be.
    return state.filtered_state[key]
