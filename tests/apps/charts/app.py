"""The simple charts."""

import numpy as np
import pandas as pd
import streamlit as st

frame = pd.DataFrame(np.random.default_rng(7).normal(size=(10, 3)), columns=["a", "b", "c"])
st.line_chart(frame, x_label="x", y_label="y")
st.area_chart(frame, stack="normalize")
st.bar_chart(frame, horizontal=True, color=["#f00", "#0f0", "#00f"])
st.scatter_chart(frame, x="a", y="b", size="c")
st.map(pd.DataFrame({"lat": [52.5, 48.1], "lon": [13.4, 11.6]}), zoom=4)
st.graphviz_chart("digraph { a -> b }")
st.mermaid_chart("graph TD; A-->B;")
