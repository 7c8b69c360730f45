"""A function's own code, in which some global names mean something else.

That is how a subclass keeps all of a long method but what it calls by one name, and leaves the
function that it has it from, and whoever else uses that, as they are.
"""

from __future__ import annotations

import functools
import types
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable

_F = TypeVar("_F", bound="Callable[..., Any]")


def rebound(function: _F, **names: Any) -> _F:
    """The function with these names instead of its module's; what it changes in its module is lost."""
    original = cast("types.FunctionType", function)
    copy = types.FunctionType(
        original.__code__,
        {**original.__globals__, **names},
        original.__name__,
        original.__defaults__,
        original.__closure__,
    )
    copy.__kwdefaults__ = original.__kwdefaults__
    return cast("_F", functools.update_wrapper(copy, original))
