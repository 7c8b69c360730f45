"""Keeps something in every place that Streamlit has for it. What it shows follows from what the user did, and from nothing else.

So there is no clock, no chance and no count of runs in it. The one text that names the serving process is told by its
`runner=`.
"""

import os

import streamlit as st

state = st.session_state
for name, start in {
    "count": 0,
    "total": 0,
    "inside": 0,
    "kept": "",
    "sent": [],
    "said": [],
}.items():
    state.setdefault(name, start)

page = st.navigation(
    [st.Page("main.py", title="Main", default=True), st.Page("second.py", title="Second")]
)
st.text(f"page={page.title};")
page.run()
st.text(f"runner={os.environ.get('RUNNER', 'nobody')};pid={os.getpid()};")
