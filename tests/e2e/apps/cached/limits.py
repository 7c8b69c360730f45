"""Functions whose values do not last for ever, or are not for everybody."""

import threading
from datetime import timedelta

import streamlit as st
from console import MODERN, answer, pass_gate, ran, times


@st.cache_data(ttl=2, show_spinner=False)
def brief():
    ran("brief")
    return times("brief")


@st.cache_data(ttl=timedelta(days=1))
def lasting():
    ran("lasting")
    return times("lasting")


@st.cache_data(max_entries=2)
def few(number):
    ran(f"few {number}")
    return -number


if MODERN:

    @st.cache_data(max_size="10KB")
    def small(name, size):
        ran(f"small {name}")
        return name * size

    @st.cache_data(ttl=1, refresh_mode="background")
    def refreshed():
        ran("refreshed")
        time = times("refreshed")
        if time > 1:
            pass_gate(f"refresh-{time}")
        return time


@st.cache_data(scope="session")
def private(number):
    ran(f"private {number}")
    return number


@st.cache_data(persist="disk")
def persisted(number):
    ran(f"persisted {number}")
    return number * 7


@st.cache_resource
def resource():
    ran("resource")
    return threading.Lock()


answer(globals())
