"""Functions that many want the value of at once."""

import time

import streamlit as st
from console import answer, pass_gate, ran, times, wait_until


@st.cache_data
def slow(argument):
    ran(f"slow {argument}")
    time.sleep(2)  # what it takes is what is tested
    return f"the value of {argument}"


@st.cache_data
def gated(gate):
    ran(f"gated {gate}")
    pass_gate(gate)
    return f"passed {gate}"


@st.cache_data
def failing(gate):
    ran(f"failing {gate}")
    pass_gate(gate)
    raise ValueError(f"failed after {gate}")


@st.cache_data
def left(_order):
    ran("left")
    meet()
    return f"left({right(_order)})" if _order == "left first" else "left"


@st.cache_data
def right(_order):
    ran("right")
    meet()
    return f"right({left(_order)})" if _order == "right first" else "right"


def meet():
    """Waits until both functions are being computed, each in its place."""
    wait_until(lambda: times("left") and times("right"))


answer(globals())
