"""Two widgets that can't be told apart."""

import streamlit as st

st.button("Twin")
if st.toggle("Same key", key="toggle"):
    st.toggle("Same key", key="toggle")
st.button("Twin")
