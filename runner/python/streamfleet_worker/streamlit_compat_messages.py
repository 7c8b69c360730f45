"""The part of `streamlit_compat` that is about the message with which a run begins: private names, checked as it is made."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime import app_session
from streamlit.runtime.app_session import AppSession, AppSessionState

from streamfleet_worker import streamlit_compat_config

if TYPE_CHECKING:
    from collections.abc import Callable


class NewSessionMessages:
    """Builds `new_session` messages without walking the whole configuration each time.

    Streamlit reads every theme option six times for each run of a script, which is a quarter of
    what a small app costs. The outcome changes only with the configuration, so it is kept, and
    thrown away when any option has another value (themes do get switched from scripts).
    """

    def __init__(self) -> None:
        self._template: ForwardMsg | None = None
        self._configuration = -1
        names = list(inspect.signature(AppSession._create_new_session_message).parameters)[1:]
        self._run_argument = names[1] if len(names) == 3 else None
        self._usable = names[:1] == ["page_script_hash"] and self._run_argument in {
            "run_descriptor",  # 1.67
            "fragment_ids_this_run",  # 1.57
        }

    def create(
        self,
        session: AppSession,
        build: Callable[..., ForwardMsg],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> ForwardMsg:
        """The message; `build` makes it as Streamlit does, from the arguments."""
        if not self._usable:
            return build(*args, **kwargs)
        configuration = streamlit_compat_config.number()
        if self._template is not None and configuration == self._configuration:
            return self._fill(session, self._template, *args, **kwargs)

        message = build(*args, **kwargs)
        template = self._strip(message)
        # Proof on the spot that a message built from the template says the same. A version of
        # Streamlit that added something per run is served slower, not wrongly.
        if self._same(self._fill(session, template, *args, **kwargs), message):
            self._template, self._configuration = template, configuration
        else:
            self._usable = False
        return message

    def _fill(
        self,
        session: AppSession,
        template: ForwardMsg,
        page_script_hash: str,
        run: Any = None,
        pages: Any = None,
        **kwargs: Any,
    ) -> ForwardMsg:
        message = ForwardMsg()
        message.CopyFrom(template)
        run = kwargs.get(str(self._run_argument), run)
        new = message.new_session
        if self._run_argument == "run_descriptor":
            app_session._set_run_identity(message, run)
        else:
            # By name, since the newest versions have neither.
            draw_id = vars(app_session)["_generate_scriptrun_id"]
            setattr(new, "script_run_id", draw_id())  # noqa: B010
            getattr(new, "fragment_ids_this_run").extend(run or ())  # noqa: B009
        new.name = session._script_data.name
        new.main_script_path = session._pages_manager.main_script_path
        new.main_script_hash = session._pages_manager.main_script_hash
        new.page_script_hash = page_script_hash
        session._populate_app_pages(new, pages or session._pages_manager.get_pages())
        first = new.initialize
        first.session_status.run_on_save = session._run_on_save
        first.session_status.script_is_running = session._state == AppSessionState.APP_IS_RUNNING
        first.session_id = session.id
        if hasattr(session, "_compute_skills_nudge_state"):
            recommend, reason = session._compute_skills_nudge_state()
            first.recommend_skills_install = recommend
            first.skills_nudge_suppressed_reason = reason
        return message

    @staticmethod
    def _strip(message: ForwardMsg) -> ForwardMsg:
        template = ForwardMsg()
        source, kept = message.new_session, template.new_session
        for holder, target, names in (
            (source, kept, ("config", "custom_theme")),
            (source.initialize, kept.initialize, ("user_info", "environment_info")),
        ):
            for name in names:
                if holder.HasField(name):  # type: ignore[arg-type]
                    getattr(target, name).CopyFrom(getattr(holder, name))
        kept.initialize.is_hello = source.initialize.is_hello
        return template

    @staticmethod
    def _same(one: ForwardMsg, other: ForwardMsg) -> bool:
        def comparable(message: ForwardMsg) -> bytes:
            copy = ForwardMsg()
            copy.CopyFrom(message)
            clear: Any = copy.new_session.ClearField
            if "script_run_id" in copy.new_session.DESCRIPTOR.fields_by_name:
                clear("script_run_id")  # drawn anew by each of the two
            return copy.SerializeToString(deterministic=True)

        return comparable(one) == comparable(other)


new_session: Final = NewSessionMessages()
