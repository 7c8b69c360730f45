"""The Debian package: installed, started, upgraded with a session on, removed and purged, on a copy of this machine that nothing gets out of."""

import json
import os
import socket
import subprocess
from pathlib import Path

import pytest
from visitor import APP, Visitor

ROOT = Path(__file__).parents[2]
PYTHON = os.environ.get("STREAMFLEET_TEST_PYTHON", str(ROOT / "target/test-env/py/bin/python"))


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture
def redis(tmp_path):
    port = free_port()
    command = [
        "redis-server",
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--dir",
        str(tmp_path),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        yield f"redis://127.0.0.1:{port}"
        process.terminate()


def test_what_is_in_it(package):
    path = package("1.2.3")
    control = subprocess.run(
        ["dpkg-deb", "--info", path], capture_output=True, text=True, check=True
    ).stdout
    assert "Version: 1.2.3" in control
    assert "libc6 (>= 2." in control
    listed = subprocess.run(
        ["dpkg-deb", "--contents", path], capture_output=True, text=True, check=True
    ).stdout
    owners = {line.split()[1] for line in listed.splitlines()}
    assert owners == {"root/root"}
    for wanted in [
        "-rwxr-xr-x root/root",
        "./usr/bin/streamfleet",
        "./lib/systemd/system/streamfleet-gateway.service",
        "./lib/systemd/system/streamfleet-runner.service",
        "./etc/streamfleet/streamfleet.toml",
        "./usr/share/doc/streamfleet/operations.md",
    ]:
        assert wanted in listed


def test_a_static_program_wants_no_library(tmp_path):
    source, binary = tmp_path / "main.rs", tmp_path / "static"
    source.write_text("fn main() {}")
    linking = ["-C", "target-feature=+crt-static", "-C", "relocation-model=static"]
    subprocess.run(["rustc", *linking, "-o", binary, source], check=True)
    build = [ROOT / "infra/debian/build", "--binary", binary, "--version", "1.2.3"]
    made = subprocess.run([*build, "--out", tmp_path], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    told = ["dpkg-deb", "--field", made.stdout.strip(), "Depends"]
    needs = subprocess.run(told, capture_output=True, text=True, check=True).stdout
    assert "libc6" not in needs


def test_its_whole_life(package, machines, redis):
    machine = machines()
    machine.open_to_all(PYTHON)
    machine.run(f"dpkg --install {package('0.0.1')}")
    asked = machine.run("cat /run/systemctl/asked")
    assert asked == "daemon-reload\n", "nothing starts before it is told what to be"
    token = "/etc/streamfleet/secrets/admin-token"
    told = machine.run(f"stat -c '%a %U:%G' {token} && wc -c <{token}")
    assert told.split() == ["640", "root:streamfleet", "64"]

    # As an operator does who follows docs/operations.md.
    secret = "/etc/streamfleet/secrets/secret"
    machine.run(f"od -An -N32 -tx1 /dev/urandom | tr -d ' \\n' >{secret}")
    machine.run(f"chown root:streamfleet {secret} && chmod 640 {secret}")
    settings = "/etc/streamfleet/streamfleet.toml"
    for name, value in {"redis": f'"{redis}"', "python": f'"{PYTHON}"', "workers": "1"}.items():
        machine.run(f"sed -i 's|^# {name} = .*|{name} = {value}|' {settings}")
    port = free_port()
    for role, listen in {"gateway": port, "runner": free_port()}.items():
        lines = {
            "LISTEN": f"127.0.0.1:{listen}",
            "ADMIN_LISTEN": f"127.0.0.1:{free_port()}",
            "SHUTDOWN_NOTICE": "0",
            "SHUTDOWN_SPREAD": "0",
        }
        text = "".join(f"STREAMFLEET_{name}={value}\n" for name, value in lines.items())
        machine.write(f"/etc/streamfleet/{role}.env", text)
    machine.run("mkdir -p /srv/streamfleet/app")
    machine.write("/srv/streamfleet/app/streamlit_app.py", APP)
    units = "streamfleet-runner.service streamfleet-gateway.service"
    machine.run(f"systemctl enable --now {units}")
    for pid in machine.run("for file in /run/systemctl/*.pid; do cat $file; echo; done").split():
        assert machine.run(f"stat -c %U /proc/{pid}") == "streamfleet\n"
    status = json.loads(machine.run(f"streamfleet status --json --config {settings}"))
    assert status["totals"]["ready"] == 1

    visitor = Visitor(f"127.0.0.1:{port}")
    visitor.count("count=1;")
    before = machine.run("cat /run/systemctl/*.pid")
    machine.run(f"dpkg --install {package('0.0.2')}")
    assert machine.run("dpkg-query -W -f '${Version}' streamfleet") == "0.0.2"
    assert machine.run("cat /run/systemctl/*.pid") != before, "what runs is the new one"
    assert redis in machine.run(f"cat {settings}"), "an operator's settings are kept"
    visitor.open("count=1;")
    visitor.count("count=2;")
    visitor.leave()

    machine.run("dpkg --remove streamfleet")
    # Those that have ended stay on the list: nobody there collects them.
    left = machine.enter("ps -o stat=,args= -u streamfleet").stdout.splitlines()
    assert [line for line in left if not line.startswith("Z")] == []
    assert machine.run("ls /etc/streamfleet/secrets").split() == ["admin-token", "secret"]
    machine.run("dpkg --purge streamfleet")
    for path in ("/etc/streamfleet", "/var/lib/streamfleet", "/usr/bin/streamfleet"):
        assert machine.enter(f"test -e {path}").returncode != 0, path
    assert machine.enter("getent passwd streamfleet").returncode != 0
    machine.run("test -e /srv/streamfleet/app/streamlit_app.py")
