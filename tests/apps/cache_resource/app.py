"""``st.cache_resource``: one object for all runs."""

import streamlit as st


@st.cache_resource
def box(name: str) -> list[str]:
    """A list that everybody shares."""
    return [name]


@st.cache_resource(validate=lambda resource: len(resource) < 4, show_spinner=False)
def short_lived() -> list[int]:
    """Made anew when it has become too long."""
    return []


shared = box("shared")
if st.button("Add", key="add"):
    shared.append(str(len(shared)))
    short_lived().append(len(short_lived()))
if st.button("Clear", key="clear"):
    box.clear()
st.write(shared, box("shared") is shared, box("other"), short_lived())
