"""Prints, as one line of JSON, what Streamfleet has to know about the Python that runs this.

Says its version on Pythons that are too old for anything else as well, so that they can be named. Imports nothing of
the user's: a package is looked for, not loaded.
"""

import sys

# `-c` puts the working directory first, where the app's files would hide modules of the same name.
sys.path[:] = [entry for entry in sys.path if entry]

import json

found = {"version": "%d.%d.%d" % sys.version_info[:3]}  # type: dict[str, object]
if sys.version_info >= (3, 10):
    import importlib.machinery
    import importlib.metadata
    import importlib.util
    import os

    wanted = ("venv", "ensurepip", "pip", "uvloop", "cloudpickle")
    found["modules"] = [name for name in wanted if importlib.util.find_spec(name)]
    found["executable"] = sys.executable
    found["base_executable"] = getattr(sys, "_base_executable", None)
    # Which compiled packages fit: interpreter, its version, C library, and processor.
    found["tag"] = importlib.machinery.EXTENSION_SUFFIXES[0].strip(".") + "-" + os.uname().machine
    streamlit = importlib.util.find_spec("streamlit")
    if streamlit and streamlit.origin:
        try:
            found["streamlit"] = importlib.metadata.version("streamlit")
            found["streamlit_file"] = streamlit.origin
        except importlib.metadata.PackageNotFoundError:
            pass
print(json.dumps(found))
