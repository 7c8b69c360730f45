"""A module in it."""

ANSWER = 42
