"""Prints, as one line of JSON, what Streamfleet has to know about the Python that runs this.

Says its version on Pythons that are too old for anything else as well, so that they can be named.
Every start waits for this: it loads nothing of the user's, and of the standard library little.
"""

import sys

# `-c` puts the working directory first, where the app's files would hide modules of the same name.
sys.path[:] = [entry for entry in sys.path if entry]

import json
import os

found = {"version": "%d.%d.%d" % sys.version_info[:3]}  # type: dict[str, object]
if sys.version_info >= (3, 10):
    import importlib.machinery
    import importlib.util

    wanted = ("venv", "ensurepip", "pip", "uvloop", "cloudpickle")
    found["modules"] = [name for name in wanted if importlib.util.find_spec(name)]
    found["executable"] = sys.executable
    found["base_executable"] = getattr(sys, "_base_executable", None)
    # Which compiled packages fit: interpreter, its version, C library, and processor.
    found["tag"] = importlib.machinery.EXTENSION_SUFFIXES[0].strip(".") + "-" + os.uname().machine
    streamlit = importlib.util.find_spec("streamlit")
    if streamlit and streamlit.origin:
        found["streamlit_file"] = streamlit.origin
        # An ordinary installation says its version in a name beside the package. importlib.metadata
        # knows every other kind too, but loading it takes longer than all the rest together.
        site_packages = streamlit.origin.rsplit("/", 2)[0]
        beside = [entry.name for entry in os.scandir(site_packages)]
        end = ".dist-info"
        names = [name for name in beside if name.startswith("streamlit-") and name.endswith(end)]
        if len(names) == 1:
            found["streamlit"] = names[0][len("streamlit-") : -len(end)]
        else:
            import contextlib
            import importlib.metadata

            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                found["streamlit"] = importlib.metadata.version("streamlit")
print(json.dumps(found))
