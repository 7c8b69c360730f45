"""Camera and microphone."""

import streamlit as st

picture = st.camera_input("Camera", key="camera")
if picture:
    st.write(picture.name, picture.type, picture.size)
sound = st.audio_input("Microphone", key="microphone", sample_rate=8000)
if sound:
    st.audio(sound)
