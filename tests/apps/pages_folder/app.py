"""An app with a ``pages/`` folder."""

import streamlit as st

st.title("Entry")
st.session_state.setdefault("visited", []).append("entry")
st.text_input("Kept?", key="kept")
st.page_link("pages/1_First_page.py", label="To the first", icon="1️⃣")
if st.button("Switch", key="switch"):
    st.switch_page("pages/2_second.py")
st.write(st.session_state.visited, st.session_state.kept)
