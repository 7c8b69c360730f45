"""Exceptions that end the script."""

import streamlit as st

choice = st.radio(
    "Fail with", ["nothing", "raise", "cause", "import", "api", "unicode"], key="choice"
)


def deep(depth: int) -> None:
    """Fails some frames down."""
    if depth:
        deep(depth - 1)
    raise KeyError("deep down")


st.write("before")
match choice:
    case "raise":
        deep(3)
    case "cause":
        try:
            deep(1)
        except KeyError as error:
            raise RuntimeError("because of that") from error
    case "import":
        import module_that_does_not_exist  # noqa: F401
    case "api":
        st.slider("Wrong", 5, 1)
    case "unicode":
        raise ValueError("<b>ü</b> `code` 🎈")
st.write("after")
