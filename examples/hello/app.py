"""A tour of what an ordinary Streamlit app can do, unchanged, under Streamfleet."""

import colorsys
import math
import os
import struct
import time
import zlib
from collections.abc import Iterator
from datetime import datetime

import streamlit as st

st.set_page_config(page_title="Hello, Streamfleet", page_icon="⛵", layout="centered")


def main() -> None:
    st.title(":material/sailing: Hello, Streamfleet")
    st.write(
        "This is a plain Streamlit script. Run it with `streamlit run` or `streamfleet run`: "
        "the page is the same, but Streamfleet serves it with one Python process per core. "
        "Open a few tabs and compare their process numbers."
    )

    where, when = st.columns(2, border=True)
    where.metric("This session's process", os.getpid())
    with when:
        clock()

    state, charts, files, chat = st.tabs(["State", "Charts", "Files", "Chat"])
    with state:
        counter()
        greeting()
        trip_form()
    with charts:
        waves()
        rainbow()
    with files:
        upload()
        download()
    with chat:
        conversation()


@st.fragment(run_every=1)
def clock() -> None:
    """Ticks on its own; the rest of the page does not run again."""
    st.metric("Server time", datetime.now().astimezone().strftime("%H:%M:%S"))


def counter() -> None:
    st.subheader("A counter")
    st.session_state.setdefault("count", 0)
    with st.container(horizontal=True, vertical_alignment="center"):
        more = st.button("Add one", type="primary", icon=":material/add:")
        fewer = st.button("Take one", icon=":material/remove:")
        st.session_state.count += more - fewer
        st.markdown(f"The count is **{st.session_state.count}**")


def greeting() -> None:
    st.subheader("A name")
    name = st.text_input("What is your name?", placeholder="Type, then press Enter")
    if name:
        st.write(f"Hello, {name}!")


def trip_form() -> None:
    st.subheader("A form")
    with st.form("trip", enter_to_submit=False):
        harbour = st.selectbox("From", ["Bergen", "Lisbon", "Valparaíso"])
        crew = st.slider("Crew", 1, 12, 4)
        sent = st.form_submit_button("Set sail", icon=":material/sailing:")
    if sent:
        st.success(f"{crew} sailors leave {harbour}.")


def waves() -> None:
    st.subheader("A chart")
    height = st.slider("Wave height", 0.5, 5.0, 2.0, 0.5)
    minutes = range(120)
    st.line_chart(
        {
            "swell": [height * math.sin(minute / 9) for minute in minutes],
            "chop": [height / 4 * math.sin(minute / 2) for minute in minutes],
        },
        x_label="minute",
        y_label="metres",
    )


def rainbow() -> None:
    st.subheader("An image")
    st.image(rainbow_png(640, 96), caption="Drawn by the script, served from its media files")


@st.cache_data
def rainbow_png(width: int, height: int) -> bytes:
    """Draws a PNG with nothing but the standard library."""
    hues = (colorsys.hsv_to_rgb(x / width, 0.55, 0.95) for x in range(width))
    row = b"\0" + b"".join(bytes(round(255 * part) for part in hue) for hue in hues)

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(row * height))
        + chunk(b"IEND", b"")
    )


def upload() -> None:
    st.subheader("To the server")
    file = st.file_uploader("Any file")
    if file is not None:
        st.info(f"{file.name} has {file.size:,} bytes.")


def download() -> None:
    st.subheader("And back")
    lines = ["minute,metres"]
    lines += [f"{minute},{2 * math.sin(minute / 9):.3f}" for minute in range(120)]
    st.download_button(
        "Download the waves", "\n".join(lines) + "\n", "waves.csv", "text/csv", on_click="ignore"
    )


def conversation() -> None:
    st.subheader("A parrot")
    talk = st.session_state.setdefault("talk", [])
    messages = st.container(height=320)
    for who, words in talk:
        messages.chat_message(who).write(words)
    if question := st.chat_input("Say something"):
        messages.chat_message("user").write(question)
        answer = messages.chat_message("assistant").write_stream(parrot(question))
        talk += [("user", question), ("assistant", answer)]


def parrot(question: str) -> Iterator[str]:
    for word in ["You", "said:", *question.split()]:
        yield f"{word} "
        time.sleep(0.05)


main()
