"""Two hundred inputs, of which each click changes one."""

import streamlit as st

st.session_state.setdefault("count", 0)
if st.button("Click", key="click"):
    st.session_state.count += 1
total = sum(
    st.number_input(f"Input {number}", value=0, key=f"input{number}") for number in range(200)
)
st.text(f"count={st.session_state.count};total={total};")
