"""Large elements that are sent once and referred to afterwards, and many small ones."""

import streamlit as st

st.code("\n".join(f"line {number}" for number in range(2_000)))
st.button("Again", key="again")
for number in range(300):
    st.text(f"element {number}")
with st.expander("Large too"):
    st.markdown("word " * 5_000)
