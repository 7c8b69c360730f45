"""An st.App whose module can't be imported."""

import no_such_module_anywhere  # noqa: F401
import streamlit as st

app = st.App("clicks.py")
