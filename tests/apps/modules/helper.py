"""Imported once, so its count goes on."""

_calls = 0


def greet(name: str) -> str:
    """Greets."""
    return f"hello {name}"


def count() -> int:
    """Counts its calls."""
    global _calls
    _calls += 1
    return _calls
