"""What the apps here have in common: a line to call their functions with, and marks that tell how often these really ran."""

import inspect
import os
import time
from pathlib import Path

import streamlit as st

# Whether this Streamlit has what came with `max_size`: background refresh, and coroutines that can be cached.
MODERN = "max_size" in inspect.signature(type(st.cache_data).__call__).parameters

MARKS = os.environ["MARKS"]


def ran(what):
    """Writes down that a function really ran: what, where, and when on the machine's clock."""
    marks = os.open(MARKS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(
        marks, f"{what}\t{os.getpid()}\t{time.monotonic_ns()}\n".encode()
    )  # one write: lines don't mix
    os.close(marks)


def times(what):
    """How often a function has run, anywhere."""
    lines = Path(MARKS).read_text().splitlines() if os.path.exists(MARKS) else []
    return sum(line.split("\t")[0] == what for line in lines)


def wait_until(holds):
    while not holds():
        time.sleep(0.01)


def pass_gate(name):
    """Waits until the test opens a gate."""
    wait_until(lambda: os.path.exists(f"{MARKS}.{name}"))


def answer(names):
    """Makes the call that the user asks for, and shows what it returned."""
    st.text(f"runner={os.environ.get('RUNNER', 'alone')};pid={os.getpid()};")
    call = st.text_input("Call", key="call")
    if call:
        value = eval(call, names)
        st.text(f"{call} -> {value!r}")
