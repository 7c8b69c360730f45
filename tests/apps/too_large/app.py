"""A message over ``server.maxMessageSize``."""

import streamlit as st

st.write("before")
st.code("x" * 2_000_000)
st.write("after")
