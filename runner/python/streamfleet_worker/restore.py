"""A session that was in another process, made again from its last snapshot."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

from streamlit.logger import get_logger

from streamfleet_worker import streamlit_compat
from streamfleet_worker.core import Core
from streamfleet_worker.recorder import Unsaved
from streamfleet_worker.values import load

if TYPE_CHECKING:
    from streamlit.runtime.app_session import AppSession
    from streamlit.runtime.script_data import ScriptData
    from streamlit.runtime.websocket_session_manager import WebsocketSessionManager

    from streamfleet_worker.wire import Message

_LOGGER: Final = get_logger(__name__)

# Told to the user of a session that can't be made again.
STATE_LOST: Final = (
    "The server that you were connected to is gone, and what you had entered here could not be"
    " brought back. The app has started anew."
)


@dataclasses.dataclass(slots=True)
class Restored:
    """A session made again, and what of it is missing."""

    session: AppSession
    lost: list[Unsaved]


def restore(
    manager: WebsocketSessionManager,
    script_data: ScriptData,
    session_id: str,
    snapshot: Message,
    user_info: dict[str, Any],
) -> Restored | None:
    """The session, for the session manager to give to this user; None if it can't be made.

    Nothing of it is unpickled for a user whose session it wasn't: the session is then as if it
    held no values.
    """
    try:
        core = Core.from_bytes(snapshot.core)
        session = streamlit_compat.build_session(manager, script_data, session_id, core)
    except Exception:
        _LOGGER.exception("Session %s can't be restored: its snapshot can't be read", session_id)
        return None
    values: dict[str, Any] = {}
    lost: list[Unsaved] = []
    if streamlit_compat.may_resume(session, user_info):
        for entry in snapshot.values:
            try:
                values[entry.key] = load(entry.pickle)
            except BaseException as error:  # noqa: BLE001 - the value's own code is run
                reason = f"{type(error).__name__}: {error}"
                lost.append(Unsaved(entry.key, "unknown", f"could not be read again: {reason}"))
                _LOGGER.warning(
                    "st.session_state[%r] of session %s is missing since it was restored: %s",
                    entry.key,
                    session_id,
                    reason,
                )
    streamlit_compat.add_values(session, values)
    return Restored(session, lost)
