"""Forms: nothing happens until they are submitted."""

import streamlit as st

st.session_state.setdefault("submitted", 0)


def count() -> None:
    """Counts submissions."""
    st.session_state.submitted += 1


with st.form("first", clear_on_submit=True):
    name = st.text_input("Name", key="name")
    fine = st.checkbox("Fine", key="fine")
    sent = st.form_submit_button("Send", on_click=count, key="send")
if sent:
    st.write("got", name, fine)

form = st.form("second", border=False, enter_to_submit=False)
amount = form.slider("Amount", 0, 10, key="amount")
other = form.form_submit_button("Other")
st.write(st.session_state.submitted, amount, other)
