"""The part of `streamlit_compat` that is about charts: private names of altair, and their check.

altair compares all that a chart is made of with the schema of Vega-Lite, again and again while it is
put together, Streamlit's own charts too: a third of what a dashboard's run costs. What has been found
to be right is right the next time. So here, and only here, one function of altair's is given another
value, which remembers that. What is wrong is looked at as ever, and fails where it ever did.
"""

from __future__ import annotations

import hashlib
import inspect
import marshal
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

# So many parts of charts are remembered, at some 200 bytes each.
_MAX_REMEMBERED: Final = 10_000
_MODULE: Final = "altair.utils.schemapi"
_FUNCTION: Final = "_get_errors_from_spec"


def is_as_known(module: ModuleType) -> bool:
    """Whether this altair has what is replaced here. Older and newer ones are left as they are."""
    function = getattr(module, _FUNCTION, None)
    return inspect.isfunction(function) and list(inspect.signature(function).parameters) == [
        "spec",
        "schema",
        "rootschema",
    ]


class _Remembering:
    """Finds what is wrong with a part of a chart, as altair's own function does that it stands for."""

    def __init__(self, find: Callable[..., Any]) -> None:
        self._find = find
        # What nothing is wrong with, and the whole schema that it was compared with: as long as
        # that is kept, no other has its identity.
        self._right: dict[tuple[bytes, int], Any] = {}

    def __call__(self, spec: Any, schema: Any, rootschema: Any = None) -> Any:
        """The errors in `spec`."""
        try:
            # In this version equal values of the same types are the same bytes.
            data = marshal.dumps((spec, schema), 2)
        except ValueError:  # There is something in it that JSON doesn't know either.
            return self._find(spec, schema, rootschema=rootschema)
        key = (hashlib.blake2b(data, digest_size=16).digest(), id(rootschema))
        if key in self._right:
            return []
        errors = self._find(spec, schema, rootschema=rootschema)
        if not errors:
            if len(self._right) >= _MAX_REMEMBERED:
                self._right.clear()
            self._right[key] = rootschema
        return errors


def look() -> None:
    """Have altair remember, once an app has loaded it. To be called now and then, from any thread."""
    module = sys.modules.get(_MODULE)
    if module is None or _MODULE in _seen:
        return
    if not hasattr(module, "SchemaBase"):
        return  # It is just being loaded.
    _seen.add(_MODULE)
    if is_as_known(module):
        setattr(module, _FUNCTION, _Remembering(getattr(module, _FUNCTION)))


_seen: Final[set[str]] = set()
