"""Text that comes word by word, as a model's answer does: forty words, a millisecond apart."""

import time
from collections.abc import Iterator

import streamlit as st

WORDS = 40


def words() -> Iterator[str]:
    for number in range(WORDS):
        time.sleep(0.001)
        yield f"word{number} "


st.session_state.setdefault("count", 0)
if st.button("Click", key="click"):
    st.session_state.count += 1
st.write_stream(words())
st.text(f"count={st.session_state.count};")
