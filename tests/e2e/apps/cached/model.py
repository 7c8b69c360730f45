"""Reads a source that changes all the time. What is returned tells what of the source was read, and when."""

import os
import random
import time

import streamlit as st
from console import MARKS, answer, ran

SOURCE = f"{MARKS}.source"


def version():
    """The source's version, which only ever grows."""
    return os.stat(SOURCE).st_size if os.path.exists(SOURCE) else 0


def changed():
    """Changes the source, and returns a version that it has now."""
    with open(SOURCE, "ab", buffering=0) as source:
        source.write(b"x")
    return version()


def read(what):
    found = version()
    ran(what)
    at = time.monotonic_ns()
    time.sleep(random.uniform(0, 0.03))  # so that others come meanwhile
    return found, at


@st.cache_data(show_spinner=False)
def lasting(key):
    return read(f"lasting {key}")


@st.cache_data(ttl=1, show_spinner=False)
def fleeting(key):
    return read(f"fleeting {key}")


def get(function, key):
    asked = time.monotonic_ns()
    found, at = function(key)
    return [asked, time.monotonic_ns(), found, at]


def clear(function, *keys):
    at_least = changed()
    asked = time.monotonic_ns()
    function.clear(*keys)
    return [asked, time.monotonic_ns(), at_least, 0]


answer(globals())
