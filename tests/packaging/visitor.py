"""An app that counts, and somebody who uses it."""

import contextlib

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

LIMIT = 60
APP = """
import streamlit as st
st.session_state.setdefault("count", 0)
st.session_state.count += st.button("Count", key="count_button")
st.text(f"count={st.session_state.count};")
"""


class Visitor:
    """Somebody who counts, and comes back to the same session when the connection is lost, as a browser does."""

    def __init__(self, address):
        self.address = address
        self.session = self.button = None
        self.open()

    def open(self, expected="count=0;"):
        protocols = ["streamlit", "token", self.session] if self.session else ["streamlit"]
        address = f"ws://{self.address}/_stcore/stream"
        self.socket = connect(address, subprotocols=protocols, max_size=None, legacy=True)
        self.run(expected)

    def run(self, expected, *pressed):
        """Has the script run, until the page shows what is expected."""
        message = BackMsg()
        message.rerun_script.SetInParent()
        for widget in pressed:
            message.rerun_script.widget_states.widgets.add(id=widget, trigger_value=True)
        self.socket.send(message.SerializeToString())
        shown = None
        while shown != expected:
            received = ForwardMsg.FromString(self.socket.recv(timeout=LIMIT))
            kind = received.WhichOneof("type")
            if kind == "new_session":
                self.session = received.new_session.initialize.session_id
            elif kind == "delta":
                element = received.delta.new_element
                if element.WhichOneof("type") == "button":
                    self.button = element.button.id
                elif element.WhichOneof("type") == "text":
                    shown = element.text.body

    def count(self, expected):
        self.run(expected, self.button)

    def leave(self):
        self.socket.close()

    def wait_until_sent_away(self):
        """Until the server closes the connection."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                self.socket.recv(timeout=LIMIT)
