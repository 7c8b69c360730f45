"""Widgets that choose among options."""

import streamlit as st

colours = ["red", "green", "blue"]
st.write("checkbox", st.checkbox("Checkbox", key="checkbox"))
st.write("toggle", st.toggle("Toggle", value=True, key="toggle"))
st.write(
    "radio", st.radio("Radio", colours, key="radio", captions=["r", "g", "b"], horizontal=True)
)
st.write(
    "selectbox",
    st.selectbox("Selectbox", colours, index=None, key="selectbox", accept_new_options=True),
)
st.write("multiselect", st.multiselect("Multiselect", colours, default=["red"], key="multiselect"))
st.write("select_slider", st.select_slider("Select slider", colours, key="select_slider"))
st.write("range", st.select_slider("Range", colours, value=("red", "blue"), key="range"))
st.write("pills", st.pills("Pills", colours, selection_mode="multi", key="pills"))
st.write("segmented", st.segmented_control("Segmented", colours, default="green", key="segmented"))
st.write("feedback", st.feedback("stars", key="feedback"))
st.write("menu", st.menu_button("Menu", colours, key="menu"))
st.write("page", st.pagination(9, key="pagination"))
st.write("colour", st.color_picker("Colour", "#00ff00", key="colour"))
