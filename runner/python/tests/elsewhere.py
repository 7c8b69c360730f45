"""Runs a test's function in another process: `elsewhere(function, *arguments)`."""

import base64
import importlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

_HERE = Path(__file__).parent


def elsewhere(function, *arguments):
    """What the function returns there; it must be one of a test module's own."""
    call = base64.b64encode(pickle.dumps((function.__module__, function.__name__, arguments)))
    paths = [str(_HERE), str(_HERE.parent), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, __file__, call.decode()],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, "it failed there, as said on standard error"
    return pickle.loads(base64.b64decode(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    module, name, given = pickle.loads(base64.b64decode(sys.argv[1]))
    result = getattr(importlib.import_module(module), name)(*given)
    sys.stdout.write("\n" + base64.b64encode(pickle.dumps(result)).decode() + "\n")
