"""A table of 5 MB, made once and sent with every run."""

import numpy as np
import pandas as pd
import streamlit as st


@st.cache_resource
def load() -> pd.DataFrame:
    random = np.random.default_rng(7)
    return pd.DataFrame(random.random((65_536, 10)), columns=list("abcdefghij"))


st.session_state.setdefault("count", 0)
if st.button("Click", key="click"):
    st.session_state.count += 1
st.text(f"count={st.session_state.count};")
st.dataframe(load())
