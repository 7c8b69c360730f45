"""Files served from the app's ``static`` folder."""

import streamlit as st

st.markdown("![logo](app/static/logo.svg)")
st.html("<img src='app/static/logo.svg'>")
