"""A custom component of the first kind, served from a folder."""

from pathlib import Path

import pandas as pd
import streamlit as st
import streamlit.components.v1 as components

folder = Path(__file__).parent / "frontend"
clicker = components.declare_component("clicker", path=str(folder))
value = clicker(label="Click", numbers=[1, 2], default=0, key="clicker")
st.write("value", value)
st.write(clicker(frame=pd.DataFrame({"a": [1]}), raw=b"bytes", key="rich", default="none"))
