"""Runs a module as `python -m` does, and kills it and its children once the process that started it is gone.

Standard input is a pipe whose other end only our parent holds; it reaches its end when the parent dies, however that
happens. Usage: python -c GUARD MODULE [ARGUMENT ...], as the leader of a process group.
"""

import sys

# `-c` puts the working directory first, where the app's files would hide modules of the same name.
sys.path[:] = [entry for entry in sys.path if entry]

import os
import runpy
import signal
import threading

lifeline = os.dup(0)
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)


def end_with_parent() -> None:
    os.read(lifeline, 1)
    os.killpg(0, signal.SIGKILL)


threading.Thread(target=end_with_parent, daemon=True).start()
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
