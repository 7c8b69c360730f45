"""Images, sound and video, made on the spot, and where they can be fetched from."""

import io
import wave

import numpy as np
import streamlit as st

pixels = np.zeros((8, 8, 3), dtype=np.uint8)
pixels[:, :4] = [255, 0, 0]
st.image(pixels, caption="an array", width=80)
st.image([pixels, 255 - pixels], caption=["one", "two"])
st.image("static/logo.svg")
st.image("https://example.com/picture.png", caption="elsewhere")

sound = io.BytesIO()
with wave.open(sound, "wb") as file:
    file.setnchannels(1)
    file.setsampwidth(2)
    file.setframerate(8000)
    file.writeframes(bytes(1600))
st.audio(sound.getvalue(), start_time=1, loop=True)
st.audio(np.sin(np.linspace(0, 100, 800)), sample_rate=8000)
st.video(bytes(range(256)) * 40, subtitles={"English": "static/subtitles.vtt"}, muted=True)
st.logo("static/logo.svg", link="https://example.com", icon_image="static/logo.svg")
