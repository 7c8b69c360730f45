"""The operations guide: all of its commands, in order, on a machine of their own."""

import os
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs/operations.md"
PYTHON = os.environ.get("STREAMFLEET_TEST_PYTHON", str(ROOT / "target/test-env/py/bin/python"))
APP = "import streamlit as st\nst.button('Press')\n"


def commands():
    """The lines of the guide's blocks of shell."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def test_every_command_does_what_it_says(package, machines):
    machine = machines(own_network=True)
    machine.open_to_all(PYTHON)
    machine.run("printf '127.0.0.1 localhost redis.internal\\n' >/etc/hosts")
    machine.run("redis-server --save '' --dir /tmp --daemonize yes")
    path = package("0.1.0")
    machine.run("mkdir -p /srv/streamfleet/app && mkdir -p /var/lib/apt/lists/partial")
    machine.write("/srv/streamfleet/app/streamlit_app.py", APP)
    said = {}
    for command in commands():
        # The package is where it was made; and nothing is to be fetched, so its dependencies count as there.
        real = command.replace("./streamfleet_0.1.0_amd64.deb", path)
        real = re.sub(r"^apt-get install .* (\S+\.deb)$", r"dpkg --install \1", real)
        real = re.sub(r"^apt-get (remove|purge) --yes", r"dpkg --\1", real)
        said[command] = machine.run(real)
        if command.startswith("systemctl disable --now"):
            unit = command.split()[-1]
            assert machine.enter(f"systemctl is-active {unit}").returncode == 3, "it has ended"
        if command.startswith("sed "):
            # No environment is made here, as that takes a registry of packages.
            settings = "/etc/streamfleet/streamfleet.toml"
            for name, value in {
                "python": f'"{PYTHON}"',
                "workers": "1",
                "shutdown_notice": "0",
            }.items():
                machine.run(f"sed -i 's|^# {name} = .*|{name} = {value}|' {settings}")
    text = "\n".join(said.values())
    assert "1 runner, 1 ready" in text
    assert "# EOF" in text, "metrics were told"
    assert len(said) > 20
