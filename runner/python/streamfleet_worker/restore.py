"""A session that was in another process, made again from its last snapshot."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

from streamlit.logger import get_logger

from streamfleet_worker import streamlit_compat_content
from streamfleet_worker.core import Core
from streamfleet_worker.recorder import Unsaved
from streamfleet_worker.values import load

if TYPE_CHECKING:
    from streamlit.runtime.app_session import AppSession
    from streamlit.runtime.script_data import ScriptData
    from streamlit.runtime.websocket_session_manager import WebsocketSessionManager

_LOGGER: Final = get_logger(__name__)

# Told to the user of a session that can't be made again.
STATE_LOST: Final = (
    "The server that you were connected to is gone, and what you had entered here could not be"
    " brought back. The app has started anew."
)

# The same where it is the app that has changed.
STATE_OUTDATED: Final = (
    "The app has been updated, and what you had entered here could not be carried over. It has"
    " started anew."
)


def restore(
    manager: WebsocketSessionManager, script_data: ScriptData, session_id: str, core: bytes
) -> AppSession | None:
    """The session without its values, to be given to its user; None if it can't be made."""
    try:
        return streamlit_compat_content.build_session(
            manager, script_data, session_id, Core.from_bytes(core)
        )
    except Exception:
        _LOGGER.exception("Session %s can't be restored: its snapshot can't be read", session_id)
        return None


@dataclasses.dataclass(slots=True)
class Values:
    """What could be read of a session's values, and what not."""

    values: dict[str, Any]
    lost: list[Unsaved]


def read_values(session_id: str, entries: list[tuple[str, bytes]]) -> Values:
    """The values again. Not on the event loop: what they need is imported, and may take long."""
    found = Values({}, [])
    for key, pickle in entries:
        try:
            found.values[key] = load(pickle)
        except BaseException as error:  # noqa: BLE001 - the value's own code is run
            reason = f"{type(error).__name__}: {error}"
            found.lost.append(Unsaved(key, "unknown", f"could not be read again: {reason}"))
            _LOGGER.warning(
                "st.session_state[%r] of session %s is missing since it was restored: %s",
                key,
                session_id,
                reason,
            )
    return found
