"""A chat with streamed answers and files."""

import streamlit as st

history = st.session_state.setdefault("history", [])


def words(text: str):
    """Says it again, word by word."""
    for word in text.split():
        yield word + " "
    yield {"not": "text"}


for name, text in history:
    with st.chat_message(name, avatar="🤖" if name == "assistant" else None):
        st.write(text)
message = st.chat_input("Say something", key="chat", accept_file="multiple", file_type=["txt"])
if message:
    with st.chat_message("user"):
        st.write(message.text, [(file.name, file.read().decode()) for file in message.files])
    with st.chat_message("assistant"):
        answer = st.write_stream(words(f"You said {message.text}"))
    history.append(("user", message.text))
    history.append(("assistant", str(answer)))
with st.container():
    st.chat_input("Inline", key="inline", on_submit=history.append, args=[("user", "inline")])
