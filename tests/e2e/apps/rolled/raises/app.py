"""A revision whose script raises before it has shown anything of use."""

import streamlit as st

st.header("About to fail")
raise ValueError("the new revision is broken")
