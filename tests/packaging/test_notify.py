"""What the service manager hears of the real program: that it serves, that it is well, and how long it will take to end."""

import os
import re
import socket
import subprocess
import time

import pytest
from conftest import BINARY, ROOT

PYTHON = os.environ.get("STREAMFLEET_TEST_PYTHON", str(ROOT / "target/test-env/py/bin/python"))
LIMIT = 60
# How often it is to say that it is well: twice as often as this.
WATCHDOG = 0.2


class Manager:
    """Listens where NOTIFY_SOCKET points."""

    def __init__(self, path):
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(LIMIT)

    def wait_for(self, state):
        """The lines of the next message that has one which begins with this."""
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            lines = self.socket.recv(4096).decode().split("\n")
            if any(line.startswith(state) for line in lines):
                return lines
        pytest.fail(f"nothing but other messages than {state} for {LIMIT} s")


@pytest.fixture
def redis(tmp_path):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    options = ["--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    command = ["redis-server", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        ready = any("Ready to accept connections" in line for line in process.stdout)
        assert ready, "redis-server ended"
        yield f"redis://127.0.0.1:{port}"
        process.terminate()


@pytest.mark.parametrize("role", ["gateway", "runner"])
def test_from_ready_to_the_end(role, redis, tmp_path):
    if not BINARY.exists():
        pytest.fail(f"there is no {BINARY}: build it, or set STREAMFLEET_BIN")
    app = tmp_path / "streamlit_app.py"
    app.write_text("import streamlit as st\nst.text('hello')\n")
    manager = Manager(tmp_path / "notify")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "NOTIFY_SOCKET": str(manager.path),
        "WATCHDOG_USEC": str(int(WATCHDOG * 1e6)),
        "STREAMFLEET_REDIS": redis,
        "STREAMFLEET_LISTEN": "127.0.0.1:0",
        "STREAMFLEET_ADMIN_LISTEN": "127.0.0.1:0",
    }
    command = [BINARY, role]
    if role == "runner":
        environment |= {
            "STREAMFLEET_SECRET": "0" * 64,
            "STREAMFLEET_PYTHON": PYTHON,
            "STREAMFLEET_WORKERS": "1",
        }
        command.append(app)
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        assert any(line.startswith("STATUS=") for line in manager.wait_for("READY=1"))
        for _ in range(3):
            manager.wait_for("WATCHDOG=1")

        process.terminate()
        lines = manager.wait_for("STOPPING=1")
        asked = next(line for line in lines if line.startswith("EXTEND_TIMEOUT_USEC="))
        unit = (ROOT / f"infra/systemd/streamfleet-{role}.service").read_text()
        limit = float(re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)[1])
        # With the program's own defaults the unit gives it what it asks for, and not much more.
        assert limit - 10 <= int(asked.partition("=")[2]) / 1e6 <= limit
        if role == "gateway":
            # It has 15 s left to tell load balancers. Whoever watches must not take it for stuck meanwhile.
            manager.wait_for("WATCHDOG=1")
            process.terminate()
            assert process.wait(LIMIT) == 128 + 15, "a second signal ends it at once"
        else:
            assert process.wait(LIMIT) == 0
    except BaseException:
        print((tmp_path / "log").read_text())
        raise
    finally:
        process.kill()
        process.wait(LIMIT)
        manager.socket.close()
