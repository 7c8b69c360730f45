"""The part of `streamlit_compat` that is about the configuration: private names, and their check.

Streamlit walks all of its 250 options for each run of a script, some of them several times. What
comes of it changes only with an option. So here it is noticed when one is set: the options become
ones of ours, as sessions do (see `adopt`).
"""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING, Any, Final

from streamlit import config
from streamlit.config_option import ConfigOption
from streamlit.runtime import metrics_util

from streamfleet_worker.rebinding import rebound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

# What a page's profile asks of the configuration.
_ASKED_FOR: Final = {"get_option", "is_manually_set", "_server_mode", "_config_options"}
# Names of modules that it looks for, as its module has them.
_MODULES: Final = "_ATTRIBUTIONS_TO_CHECK"


def seams() -> list[tuple[str, bool]]:
    """What this module builds on, and whether this Streamlit has it."""
    used = metrics_util.create_page_profile_message.__code__.co_names
    return [
        ("config.get_config_options", hasattr(config, "get_config_options")),
        ("config.is_manually_set", hasattr(config, "is_manually_set")),
        ("config._config_options", hasattr(config, "_config_options")),
        ("create_page_profile_message: config", "config" in used and set(used) >= _ASKED_FOR),
        (f"metrics_util.{_MODULES}", hasattr(metrics_util, _MODULES)),
        ("ConfigOption.set_value", "_get_val_func" in ConfigOption.set_value.__code__.co_names),
    ]


class FleetConfigOption(ConfigOption):
    """An option that says when it is set."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Set one of its attributes, as `set_value` does with several."""
        super().__setattr__(name, value)
        _configuration.set()


class _Configuration:
    """Numbers the configurations that there have been."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._number = next(self._numbers)
        self._options: dict[str, ConfigOption] = {}
        self._size = 0

    def set(self) -> None:
        """An option has another value, perhaps."""
        self._number = next(self._numbers)

    def number(self) -> int:
        """That of the configuration as it is: another one whenever an option is set."""
        options = config.get_config_options()
        if options is not self._options or len(options) != self._size:
            # A configuration that was loaded anew has other options. In this order: what is set
            # meanwhile is found to be set.
            for option in list(options.values()):
                if type(option) is ConfigOption:
                    option.__class__ = FleetConfigOption
            self._options, self._size = options, len(options)
            self.set()
        return self._number


_configuration: Final = _Configuration()
# Tells one configuration from another: see `_Configuration.number`.
number: Final = _configuration.number


class _SetByUser:
    """The module `config` to a function that looks for options that a user has set: it has no others."""

    def __init__(self) -> None:
        self._number = -1
        self._found: dict[str, ConfigOption] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(config, name)

    @property
    def _config_options(self) -> dict[str, ConfigOption]:
        now = number()
        if now != self._number:
            options = config.get_config_options()
            self._found = {
                name: option for name, option in options.items() if config.is_manually_set(name)
            }
            self._number = now
        return self._found


class _Loaded:
    """Those of some modules that are loaded, for whoever looks for all of them again and again."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = tuple(names)
        self._found: list[str] = []
        self._loaded = -1

    def __iter__(self) -> Iterator[str]:
        loaded = len(sys.modules)
        if loaded != self._loaded:
            self._found = [name for name in self._names if name in sys.modules]
            self._loaded = loaded
        return iter(self._found)


# Streamlit's own statistics of a run.
create_page_profile_message: Final[Callable[..., ForwardMsg]] = rebound(
    metrics_util.create_page_profile_message,
    config=_SetByUser(),
    **{_MODULES: _Loaded(getattr(metrics_util, _MODULES, ()))},
)


def known_options(options: dict[str, Any]) -> dict[str, Any]:
    """Those of the options that this Streamlit has."""
    return {name: value for name, value in options.items() if name in config.get_config_options()}
