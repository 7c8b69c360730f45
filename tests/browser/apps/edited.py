"""The test copies this file, changes the copy while it is served, and looks at the page."""

import streamlit as st

st.session_state.setdefault("count", 0)
st.session_state.count += st.button("Count")
st.write(f"Edition one, count {st.session_state.count}")
