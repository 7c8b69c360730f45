"""Two charts, a table and metrics, as dashboards have them."""

import numpy as np
import pandas as pd
import streamlit as st


@st.cache_data
def load() -> pd.DataFrame:
    random = np.random.default_rng(7)
    frame = pd.DataFrame(random.normal(size=(200, 3)).cumsum(axis=0), columns=["a", "b", "c"])
    frame["day"] = pd.date_range("2026-01-01", periods=200)
    return frame


st.session_state.setdefault("count", 0)
if st.button("Click", key="click"):
    st.session_state.count += 1
st.text(f"count={st.session_state.count};")

frame = load()
for column, name in zip(st.columns(3), ("a", "b", "c"), strict=True):
    column.metric(name, f"{frame[name].iloc[-1]:.2f}", f"{frame[name].diff().iloc[-1]:.2f}")
st.line_chart(frame, x="day", y=["a", "b", "c"])
st.bar_chart(frame.tail(30), x="day", y="a")
st.dataframe(frame)
