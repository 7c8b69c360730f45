"""Containers of all kinds."""

import streamlit as st

left, right = st.columns([1, 2], gap="large", border=True, vertical_alignment="center")
left.write("left")
with right:
    st.write("right")
    inner = st.columns(2)
    inner[1].write("nested")
one, two = st.tabs(["One", "Two"])
one.write("first tab")
two.write("second tab")
with st.expander("Expander", expanded=True, icon=":material/unfold_more:"):
    st.write("inside")
with st.popover("Popover", help="more"):
    st.write("inside the popover")
with st.container(border=True, height=120, key="boxed"):
    st.write("boxed")
with st.container(horizontal=True, horizontal_alignment="right"):
    st.write("a")
    st.write("b")
with st.grid(3, gap="small", border=True):
    for number in range(4):
        st.write(number)
with st.sidebar:
    st.write("sidebar")
    st.sidebar.caption("more")
st.bottom.write("bottom")
later = st.empty()
later.write("first")
later.write("second")
with st.empty():
    st.write("third")
    st.write("fourth")
st.empty()
before = st.container()
st.write("below")
before.write("above")
st.skeleton(height=40)
