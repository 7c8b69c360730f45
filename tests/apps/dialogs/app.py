"""Modal dialogs: opening, acting inside, closing."""

import streamlit as st

state = st.session_state
state.setdefault("votes", [])


@st.dialog("Vote", width="large", icon=":material/how_to_vote:")
def vote(subject: str) -> None:
    """Asks for a reason."""
    st.write("Why", subject)
    reason = st.text_input("Reason", key="reason")
    if st.button("Submit", key="submit"):
        state.votes.append(f"{subject}: {reason}")
        st.rerun()


@st.dialog("Stays", dismissible=False, on_dismiss="rerun")
def stays() -> None:
    """Has no way out but a button."""
    st.button("Inside", key="inside")


if st.button("A", key="a"):
    vote("A")
if st.button("Stay", key="stay"):
    stays()
st.write(state.votes)
