//! What `st.cache_data` functions return is shared by a whole cluster, and is what it is in one process of plain Streamlit.
//!
//! The apps are in `tests/e2e/apps/cached`. Each of their functions writes down when it really runs.
//!
//! With `STREAMFLEET_CACHE_SELF=1` plain Streamlit takes both sides of the comparisons: what fails then is no fault of the
//! fleet's. Run this after changing an app, or these files.

mod away;
mod documented;
mod memory;
mod model;
mod off;
mod revisions;
mod single_flight;
mod stage;
