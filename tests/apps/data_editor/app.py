"""Editing a table: cells, new rows, deleted rows."""

import pandas as pd
import streamlit as st

frame = pd.DataFrame({"name": ["a", "b", "c"], "done": [True, False, False]})
edited = st.data_editor(
    frame, num_rows="dynamic", key="editor", on_change=st.toast, args=["edited"]
)
st.write(edited.to_dict("records"), st.session_state.editor)
