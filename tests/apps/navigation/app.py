"""Pages given by ``st.navigation``, from functions and files."""

import streamlit as st


def home() -> None:
    """The default page."""
    st.title("Home")
    st.page_link(settings, label="Settings", query_params={"tab": "two"})
    st.page_link("https://example.com", label="Out")
    if st.button("Go", key="go"):
        st.switch_page(settings, query_params={"from": "home"})


def about() -> None:
    """A page in another section."""
    st.write("about", dict(st.query_params))


start = st.Page(home, title="Start", icon=":material/home:", default=True)
settings = st.Page("settings.py", title="Settings", url_path="prefs")
hidden = st.Page(about, title="About", visibility="hidden", help="more")
page = st.navigation({"Main": [start, settings], "Other": [hidden]}, position="top", expanded=True)
st.session_state.setdefault("runs", 0)
st.session_state.runs += 1
st.write("shared", page.title, page.url_path, st.session_state.runs)
page.run()
