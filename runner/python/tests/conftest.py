"""What several tests need."""

import pytest


@pytest.fixture
def app(tmp_path):
    """Writes a script, and others beside it, and returns its path."""

    def write(source, **others):
        for name, text in others.items():
            path = tmp_path / name.replace("__", "/")
            path.parent.mkdir(exist_ok=True)
            path.with_suffix(".py").write_text("import streamlit as st\n" + text)
        path = tmp_path / "app.py"
        path.write_text("import streamlit as st\n" + source)
        return path

    return write
