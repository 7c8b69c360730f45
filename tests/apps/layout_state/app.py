"""Containers that are widgets too: they report whether they are open."""

import streamlit as st

first, second = st.tabs(["First", "Second"], key="tabs", on_change="rerun")
first.write("one")
if second.open:
    second.write("two, made when open")
with st.expander("More", key="expander", on_change="rerun") as more:
    if more.open:
        st.write("made when open")
with st.popover("Over", key="popover", on_change="rerun") as over:
    st.write(over.open)
