"""``st.cache_data``: hits, arguments, clearing, shown elements that are replayed, and failures."""

import pandas as pd
import streamlit as st

calls = st.session_state.setdefault("calls", [])


@st.cache_data(show_spinner="Computing")
def table(rows: int, _unhashed: object = None) -> pd.DataFrame:
    """Makes a table and shows that it did."""
    st.session_state.calls.append(f"table {rows}")
    st.write("made", rows)
    return pd.DataFrame({"n": range(rows)})


@st.cache_data(ttl="1h", max_entries=2)
def square(number: int) -> int:
    """Squares a number."""
    st.session_state.calls.append(f"square {number}")
    return number * number


@st.cache_data
def failing() -> None:
    """Always fails, which is not cached."""
    st.session_state.calls.append("failing")
    raise ValueError("never cached")


rows = st.slider("Rows", 1, 5, key="rows")
st.dataframe(table(rows, object()))
for number in (1, 2, 3, 2, 1):
    square(number)
try:
    failing()
except ValueError as error:
    st.write(str(error))
if st.button("Clear one", key="clear_one"):
    table.clear(rows)
if st.button("Clear function", key="clear_function"):
    table.clear()
if st.button("Clear all", key="clear_all"):
    st.cache_data.clear()
st.write(calls)
