"""A form: nothing runs until it is sent, and then all of its values come at once."""

import streamlit as st

st.session_state.setdefault("count", 0)
with st.form("order"):
    text = st.text_input("Text", key="text")
    amount = st.number_input("Amount", key="amount", value=1)
    kind = st.selectbox("Kind", ["red", "green", "blue"])
    if st.form_submit_button("Send", key="click"):
        st.session_state.count += 1
st.text(f"count={st.session_state.count};text={text};")
st.dataframe({"text": [text], "amount": [amount], "kind": [kind]})
