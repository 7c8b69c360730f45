"""Times calls of a cached function, from inside: which calls, the text input says."""

import json
import os
import statistics
import time

import numpy as np
import pandas as pd
import streamlit as st


@st.cache_data(show_spinner=False)
def value(kind: str, number: int) -> bytes | pd.DataFrame:
    rng = np.random.default_rng(number)
    if kind == "1 KB":
        return rng.bytes(1000)
    rows = {"1 MB": 12_500, "50 MB": 625_000}[kind]
    return pd.DataFrame(rng.random((rows, 10)))


order = st.text_input("Order", key="order")
if order:
    kind, count, turn = json.loads(order)
    times = []
    for number in range(count):
        began = time.perf_counter()
        value(kind, turn * 1000 + number)
        times.append(time.perf_counter() - began)
    st.code(f"done {order} {statistics.median(times) * 1e6:.1f}")
st.code(f"process {os.getppid()} {os.getpid()}")
