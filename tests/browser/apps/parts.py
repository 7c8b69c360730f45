"""A dialog, fragments and a camera: parts of a page that run on their own."""

import streamlit as st

st.session_state.setdefault("page_runs", 0)
st.session_state.page_runs += 1


@st.dialog("Sign the book")
def sign() -> None:
    name = st.text_input("Your name")
    if st.button("Sign"):
        st.session_state.signed = name
        st.rerun()


@st.fragment
def tally(label: str) -> None:
    key = f"runs of {label}"
    st.session_state.setdefault(key, 0)
    st.session_state[key] += 1
    st.button(f"Run {label}")
    st.write(f"{label} ran {st.session_state[key]} times")


st.write(f"The page ran {st.session_state.page_runs} times")
if st.button("Open the book"):
    sign()
if "signed" in st.session_state:
    st.write(f"Signed by {st.session_state.signed}")

tally("Left")
tally("Right")

photo = st.camera_input("Camera")
if photo is not None:
    is_picture = photo.getvalue().startswith((b"\xff\xd8", b"\x89PNG"))
    st.write(f"A photo of type {photo.type}, JPEG or PNG: {is_picture}")
    st.image(photo)
