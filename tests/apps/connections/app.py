"""A connection class of the app's own, and one that lacks its driver."""

import streamlit as st
from streamlit.connections import BaseConnection


class Numbers(BaseConnection[dict]):
    """Looks numbers up."""

    def _connect(self, **kwargs) -> dict:
        return {"start": int(self._secrets.get("start", 0)), **kwargs}

    def get(self, name: str) -> int:
        """One number."""
        return self._instance[name]


numbers = st.connection("numbers", type=Numbers, other=7)
st.write(numbers.get("start"), numbers.get("other"))
try:
    st.connection("database", type="sql")
except Exception as error:
    st.write(type(error).__name__, str(error))
