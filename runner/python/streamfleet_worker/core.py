"""What a snapshot keeps of Streamlit's own state of a session, as bytes.

A version (one byte), the length of a JSON text (u32, big-endian), the text, and the browser's
last `ClientState` with the values of all widgets, as Streamlit's protobuf. No pickle: whoever
can read a protobuf can read it, and what can't be read does no harm.
"""

from __future__ import annotations

import dataclasses
import json
import struct
from typing import Any, Final

from streamlit.proto.ClientState_pb2 import ClientState

_VERSION: Final = 1
_HEAD: Final = struct.Struct(">BI")
# `json.dumps` makes an encoder for each call, unless it is to write spaces.
_encode: Final = json.JSONEncoder(separators=(",", ":")).encode


@dataclasses.dataclass(slots=True)
class Core:
    """Streamlit's own state of a session, apart from the entries of `st.session_state`."""

    # Page, query string and context of the last run, and the widgets' values in effect.
    client_state: ClientState
    # Element ids by the keys that the script gives its widgets.
    ids: dict[str, str] = dataclasses.field(default_factory=dict)
    # Keys by the ids that a widget with this key had before.
    former_ids: dict[str, str] = dataclasses.field(default_factory=dict)
    # Ids of widgets that are bound to the query string.
    bound_ids: list[str] = dataclasses.field(default_factory=list)
    # What Streamlit notes of widgets that keep their value when not shown; empty where it has no such thing.
    persisted: dict[str, Any] = dataclasses.field(default_factory=dict)
    # Whose session it is; compared with who wants it back.
    user_info: dict[str, Any] = dataclasses.field(default_factory=dict)
    run_on_save: bool = False

    def to_bytes(self) -> bytes:
        """The same for the same content. Raises `TypeError` when the user's info is not plain."""
        text = _encode(
            {
                "ids": self.ids,
                "former_ids": self.former_ids,
                "bound_ids": self.bound_ids,
                "persisted": self.persisted,
                "user_info": self.user_info,
                "run_on_save": self.run_on_save,
            }
        ).encode()
        return (
            _HEAD.pack(_VERSION, len(text))
            + text
            + self.client_state.SerializeToString(deterministic=True)
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Core:
        """Raises an error of some kind when it can't be read."""
        version, length = _HEAD.unpack_from(data)
        if version != _VERSION:
            raise ValueError(f"a snapshot of version {version}, and this worker reads {_VERSION}")
        end = _HEAD.size + length
        plain = json.loads(data[_HEAD.size : end])
        client_state = ClientState.FromString(data[end:])
        return cls(client_state=client_state, **plain)
