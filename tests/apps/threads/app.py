"""Threads of the script's own that write to the page."""

import threading

import streamlit as st
from streamlit.runtime.scriptrunner import add_script_run_ctx, get_script_run_ctx

places = [st.empty() for _ in range(3)]


def work(number: int) -> None:
    """Writes to its own place."""
    places[number].write(f"thread {number}, {get_script_run_ctx() is not None}")


workers = [threading.Thread(target=work, args=[number]) for number in range(3)]
for worker in workers:
    add_script_run_ctx(worker).start()
for worker in workers:
    worker.join()
st.button("Again", key="again")
