"""The first page: buttons, callbacks, a fragment, a form, a file, a chat, cached data, and objects that change in place."""

import hashlib
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import streamlit as st

state = st.session_state


@dataclass
class Cart:
    """A class of the script's own, which each run defines anew."""

    things: list[str] = field(default_factory=list)

    def price(self) -> int:
        """Costs more the more there is."""
        return sum(range(len(self.things) + 1))


@st.cache_data
def squares() -> pd.DataFrame:
    """Cached, in this process or in all."""
    return pd.DataFrame({"n": range(10), "square": [n * n for n in range(10)]})


def add(amount: int, times: int = 1) -> None:
    """A callback with arguments of both kinds."""
    state.total += amount * times


@st.fragment
def part() -> None:
    """Runs without the rest of the page."""
    if st.button("Inside", key="press"):
        state.inside += 1
    word = st.text_input("Word", key="word")
    st.text(f"inside={state.inside};word={word};")


if "cart" not in state:
    state.cart = Cart()
    state.array = np.zeros(4, dtype=int)
    state.frame = pd.DataFrame({"a": [0, 0], "b": [0.5, 0.5]})

if st.button("Count", key="click"):
    state.count += 1
st.button("Add", key="add", on_click=add, args=(3,), kwargs={"times": 2})
st.text(f"count={state.count};total={state.total};")

part()

with st.form("form"):
    name = st.text_input("Name", key="name")
    age = st.number_input("Age", key="age", value=1, step=1)
    if st.form_submit_button("Send", key="send"):
        state.sent.append((name, age))
st.text(f"sent={state.sent};")

upload = st.file_uploader("File", key="file")
if upload is not None:
    content = upload.getvalue()
    st.text(f"size={len(content)};digest={hashlib.sha256(content).hexdigest()};")

least = st.slider("At least", 0, 9, key="least")
table = squares()
st.text(f"table={table[table.n >= least].to_csv(index=False)};")

if st.button("Buy", key="buy"):
    state.cart.things.append(f"thing {len(state.cart.things)}")
st.text(f"cart={state.cart};price={state.cart.price()};")

if st.button("Change the array", key="bump-array"):
    state.array[state.array.sum() % 4] += 1
if st.button("Change the frame", key="bump-frame"):
    state.frame.loc[state.frame.a.idxmin(), "a"] += 1
    state.frame.b *= 2
st.text(f"array={state.array.tolist()};frame={state.frame.to_csv(index=False)};")

message = st.chat_input("Say something", key="chat")
if message:
    state.said.append(message)
st.text(f"said={state.said};")
