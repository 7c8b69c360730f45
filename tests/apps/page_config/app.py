"""The page's title, icon and layout, set more than once."""

import streamlit as st

st.set_page_config(
    page_title="Configured",
    page_icon="🎈",
    layout="wide",
    initial_sidebar_state="collapsed",
    menu_items={"About": "# About", "Get help": None},
)
st.write("wide")
if st.button("Rename", key="rename"):
    st.set_page_config(page_title="Renamed", page_icon=":material/home:")
