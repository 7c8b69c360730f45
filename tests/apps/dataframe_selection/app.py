"""A data frame whose rows can be selected, and one that is fetched in parts."""

import pandas as pd
import streamlit as st

frame = pd.DataFrame({"n": range(5), "square": [n * n for n in range(5)]})
event = st.dataframe(
    frame,
    key="table",
    on_select="rerun",
    selection_mode=["multi-row", "single-column"],
)
st.write("rows", event.selection.rows, "columns", event.selection.columns)
st.dataframe(pd.DataFrame({"n": range(5_000)}), lazy=True, key="lazy")
