"""Hosts one Streamlit app for a Streamfleet runner, through Streamlit's own extension points."""
