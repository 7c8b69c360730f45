"""Functions that draw: what they drew is shown again wherever their values are used."""

import numpy as np
import streamlit as st
from console import answer, pass_gate, ran

outside = st.container()


@st.cache_data
def drawn(title):
    ran(f"drawn {title}")
    st.write(title, {"letters": len(title)})
    st.metric("Visitors", 3, 1)
    with st.container(border=True):
        left, right = st.columns(2)
        left.success(title)
        with right.expander("More", expanded=True):
            st.table({"number": [1, 2]})
    st.sidebar.info(title)
    return len(title)


def drawn_inside(title):
    with st.container(border=True):
        return drawn(title)


@st.cache_data
def drawn_by_parts(title):
    st.text(f"around {title}")
    return drawn(title)


@st.cache_data
def pictured(shade):
    ran(f"pictured {shade}")
    st.image(np.full((16, 16, 3), shade, dtype=np.uint8), output_format="PNG")
    st.audio(b"RIFF" + bytes([shade]) * 1000, format="audio/wav")
    return shade


@st.cache_data
def drawn_outside():
    ran("drawn_outside")
    outside.text("drawn where the function isn't")
    return 1


@st.cache_data
def with_widget():
    ran("with_widget")
    st.checkbox("A widget")
    return 1


@st.cache_data
def slow(gate):
    ran(f"slow {gate}")
    pass_gate(gate)
    return gate


@st.cache_data(show_spinner="Asking the oracle")
def told(gate):
    ran(f"told {gate}")
    pass_gate(gate)
    return gate


@st.cache_data(show_spinner=False)
def quiet(gate):
    ran(f"quiet {gate}")
    pass_gate(gate)
    return gate


answer(globals())
