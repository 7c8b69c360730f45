"""Has everything that replicas of plain Streamlit lose: uploads, media, downloads, components, a login."""

import hashlib
import os
from pathlib import Path

import streamlit as st
import streamlit.components.v1 as components

FRONTEND = Path(__file__).parent / "frontend"

st.session_state.setdefault("count", 0)
if st.button("Click", key="click"):
    st.session_state.count += 1
st.text(f"count={st.session_state.count};")
st.text(f"runner={os.environ['RUNNER']};")
st.text(f"user={st.user.get('email', 'nobody')};")

# Different in every session, so that nobody else can have it.
sound = os.urandom(1) * 500_000 if "sound" not in st.session_state else st.session_state.sound
st.session_state.sound = sound
st.audio(b"RIFF" + sound, format="audio/wav")
st.download_button("Download", sound, file_name="sound.bin", key="download")
components.declare_component("mark", path=FRONTEND)(key="mark")

upload = st.file_uploader("File", key="file")
if upload is not None:
    content = upload.getvalue()
    st.text(f"size={len(content)};")
    st.text(f"digest={hashlib.sha256(content).hexdigest()};")

if "auth" in st.secrets and st.button("Log in", key="login"):
    st.login()
