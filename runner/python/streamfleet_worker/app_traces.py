"""The app's own OpenTelemetry spans, as children of the run that they are made in.

The worker has no OpenTelemetry. If the app has imported it, the run's span becomes the current
one of the script's thread for as long as the run lasts.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from streamfleet_worker.seldom import Seldom

_FAILED = Seldom(
    logging.getLogger(__name__), "The app's OpenTelemetry spans will be in traces of their own: %r"
)


def enter(context: bytes) -> Any:
    """Make the span of this context (see `runs`) the current one; returns what `leave` takes."""
    trace, contexts = (
        sys.modules.get("opentelemetry.trace"),
        sys.modules.get("opentelemetry.context"),
    )
    if not context or trace is None or contexts is None:
        return None
    try:
        span = trace.SpanContext(
            trace_id=int.from_bytes(context[:16], "big"),
            span_id=int.from_bytes(context[16:24], "big"),
            is_remote=True,
            trace_flags=trace.TraceFlags(context[24]),
        )
        return contexts.attach(trace.set_span_in_context(trace.NonRecordingSpan(span)))
    except Exception as error:  # noqa: BLE001 - the app's version of it, or half of it
        _FAILED.warn(error)
        return None


def leave(token: Any) -> None:
    """Make what was current before the current one again. On the same thread."""
    contexts = sys.modules.get("opentelemetry.context")
    if token is None or contexts is None:
        return
    try:
        contexts.detach(token)
    except Exception as error:  # noqa: BLE001
        _FAILED.warn(error)
