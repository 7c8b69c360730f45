"""Functions that return values, in all the ways that are documented."""

import asyncio
import threading

import library
import numpy as np
import pandas as pd
import streamlit as st
from console import MODERN, answer, ran


class Point:
    def __init__(self, x, y):
        self.x = x
        self.y = y


@st.cache_data
def square(number):
    ran(f"square {number}")
    return number * number


@st.cache_data
def scaled(_factor, number):
    ran(f"scaled {number}")
    return _factor * number


@st.cache_data(hash_funcs={Point: lambda point: point.x})
def across(point):
    ran(f"across {point.x}")
    return point.x, point.y


@st.cache_data(hash_funcs={"__main__.Point": lambda point: point.y})
def upwards(point):
    ran(f"upwards {point.y}")
    return point.x, point.y


@st.cache_data
def locked(lock):
    return lock


@st.cache_data
def point(x):
    ran(f"point {x}")
    return Point(x, -x)


@st.cache_data
def large(megabytes):
    ran("large")
    return pd.DataFrame(np.random.default_rng(0).random((megabytes * 12_500, 10)))


@st.cache_data
def nothing():
    ran("nothing")


@st.cache_data
def failing(text):
    ran("failing")
    raise ValueError(text)


@st.cache_data
def stream():
    ran("stream")
    return (letter for letter in "ab")


@st.cache_data
def lock():
    ran("lock")
    return threading.Lock()


@st.cache_data
def letters():
    ran("letters")
    return ["a", "b"]


def changed_letters():
    value = letters()
    value.append("c")
    return value


@st.cache_data
def inner(number):
    ran(f"inner {number}")
    return number + 1


@st.cache_data
def outer(number):
    ran(f"outer {number}")
    return inner(number) * 2


def twin(kind):
    if kind == "one":

        @st.cache_data
        def same_name():
            ran("twin one")
            return "the one"

    else:

        @st.cache_data
        def same_name():
            ran("twin other")
            return "the other"

    return same_name()


@st.cache_data
def frame(rows):
    ran(f"frame {rows}")
    columns = {
        "whole": pd.array([*range(rows - 1), None], dtype="Int64"),
        "kind": pd.Categorical(["a", "b"] * (rows // 2)),
        "at": pd.date_range("2026-01-01", periods=rows, tz="Europe/Berlin"),
    }
    return pd.DataFrame(columns, index=pd.Index(range(rows), name="row"))


def shown_frame(rows):
    value = frame(rows)
    st.dataframe(value)
    return pd.util.hash_pandas_object(value).tolist(), value.dtypes.astype(str).to_dict()


if MODERN:

    @st.cache_data
    async def awaited(number):
        ran(f"awaited {number}")
        await asyncio.sleep(0.01)
        return number + 0.5


def in_thread(function, *args):
    """Calls it in a thread that knows of no session."""
    returned = []
    thread = threading.Thread(target=lambda: returned.append(function(*args)))
    thread.start()
    thread.join()
    return returned


st.button("Clear", key="clear", on_click=square.clear)
answer({**globals(), "library": library})
