"""Values of many types in the session's state, deleted and set from outside of the widgets."""

import dataclasses
import datetime

import numpy as np
import pandas as pd
import streamlit as st


@dataclasses.dataclass
class Point:
    """A class that the script defines."""

    x: int
    y: int = 0


state = st.session_state
if "point" not in state:
    state.point = Point(1)
    state.frame = pd.DataFrame({"a": [1, 2]})
    state.array = np.arange(3)
    state["when"] = datetime.datetime(2024, 2, 29, 12)
    state.nested = {"list": [1, {2}], "none": None}
    state.text = "set before the widget"
if st.button("Move", key="move"):
    state.point = dataclasses.replace(state.point, x=state.point.x + 1)
    state.array = state.array + 1
if st.button("Forget", key="forget"):
    del state.nested
st.text_input("Text", key="text")
st.write(state.point.x, state.frame, state.array, state.when, state.get("nested"), state.text)
try:
    state.text = "too late"
except st.errors.StreamlitAPIException as error:
    st.write(type(error).__name__)
st.write("missing" in state)
st.write(state.missing)
