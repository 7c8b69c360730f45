"""A script that computes: 20 ms or so of pure Python for each run."""

import streamlit as st

st.session_state.setdefault("count", 0)
if st.button("Click", key="click"):
    st.session_state.count += 1

total = 0
for number in range(250_000):
    total = (total * 31 + number) % 1_000_003

st.text(f"count={st.session_state.count};")
st.text(f"total={total};")
