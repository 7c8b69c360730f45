"""What ``st.write`` and magic make of values of many types."""

import datetime

import numpy as np
import pandas as pd
import streamlit as st

"Magic **markdown**"
{"magic": [1, 2, 3]}
pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})

st.write(pd.Series([1.5, 2.5], name="series"))
st.write(np.arange(6).reshape(2, 3))
st.write(datetime.date(2024, 2, 29), 3.14, None, True)
st.write(ValueError("a value, not a failure"))
st.write(len)
st.write((1, 2), {3}, b"bytes")
st.write(st.session_state)
