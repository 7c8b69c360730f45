"""Errors that the runner shows to whoever started it."""

from __future__ import annotations


class AppCannotRunError(Exception):
    """The app can't be served, and starting again would end the same way.

    The message names the thing, the cause and the next step.
    """


def describe(error: BaseException) -> str:
    """The error in one text for the operator."""
    if isinstance(error, AppCannotRunError):
        return str(error)
    return f"{type(error).__name__}: {error}"
