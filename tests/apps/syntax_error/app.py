"""Chooses a page that does not compile."""

import streamlit as st

st.navigation([st.Page("fine.py"), st.Page("broken.py")]).run()
