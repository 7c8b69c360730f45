"""Does what shows in a trace: callbacks, fragments, cached values, exceptions."""

import time

import streamlit as st


@st.cache_data(show_spinner=False)
def computed(number):
    time.sleep(1)
    return number


def count():
    time.sleep(0.005)
    st.session_state.count = st.session_state.get("count", 0) + 1


@st.fragment
def part():
    st.button("Part", key="part")


st.button("Click", key="click", on_click=count)
st.text(f"count={st.session_state.get('count', 0)};")
if st.button("Compute", key="compute"):
    st.text(f"computed={computed(7)};")
if st.button("Wait", key="wait"):
    st.text("waiting")
    time.sleep(1.5)
    st.text("waited=1;")
if st.button("Fail", key="fail"):
    raise KeyError("on purpose")
part()
