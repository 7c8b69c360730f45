"""A user whom a proxy in front names in a header."""

import streamlit as st

st.write(st.user.to_dict())
