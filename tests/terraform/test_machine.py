"""The user data on a real Debian 12, made by debootstrap: cloud-init itself installs a runner, then the gateway's command is started.

AWS is stood in for: its command line, the instance metadata, and the packages of its two agents. systemd doesn't run in a chroot, so units
are enabled there but not started.
"""

import http.server
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, TOOLS

MIRROR = "http://deb.debian.org/debian"
PATHS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# As releases are: with what machines on AWS are told to do.
BINARY = Path(os.environ.get("STREAMFLEET_BIN", ROOT / "target/aws/release/streamfleet"))

AWS = """#!/bin/bash
echo "$*" >>/stand-in/calls
case "$1 $2" in
  "s3 cp") cp "/stand-in/${4##*/}" "$5" ;;
  "secretsmanager get-secret-value") case $4 in */redis) echo redis://127.0.0.1:6379 ;; *) printf '%064d\\n' 7 ;; esac ;;
esac
"""
CURL = """#!/bin/bash
for word; do case $word in
  */amazon-ssm-agent.deb | */amazon-cloudwatch-agent.deb)
    while [[ $1 != --output ]]; do shift; done
    exec cp "/stand-in/${word##*/}" "$2" ;;
esac; done
exec /usr/bin/curl "$@"
"""
# In a chroot it enables units, but fails to start them. What it would have started is noted.
SYSTEMCTL = """#!/bin/bash
echo "systemctl $*" >>/stand-in/calls
words=()
for word; do [[ $word == --now ]] || words+=("$word"); done
exec /usr/bin/systemctl "${words[@]}"
"""
UNIT = "[Service]\nExecStart=/usr/bin/streamfleet {role}\n[Install]\nWantedBy=multi-user.target\n"


class Metadata(http.server.BaseHTTPRequestHandler):
    """IMDSv2, as far as the scripts ask it."""

    def do_PUT(self) -> None:
        self.answer(b"token" if self.path == "/latest/api/token" else None)

    def do_GET(self) -> None:
        known = (
            self.headers.get("X-aws-ec2-metadata-token") == "token"
            and self.path == "/latest/meta-data/instance-id"
        )
        self.answer(b"i-0123456789abcdef0" if known else None)

    def answer(self, body: bytes | None) -> None:
        self.send_response(200 if body else 401)
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def metadata() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Metadata)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()


def package(folder: Path, name: str, files: dict[str, str], postinst: str = "") -> Path:
    """Makes a Debian package of a few files."""
    tree = folder / name
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: T <t@example.com>\nDescription: For a test\n"
    )
    if postinst:
        (tree / "DEBIAN/postinst").write_text(f"#!/bin/sh\nset -e\n{postinst}\n")
        (tree / "DEBIAN/postinst").chmod(0o755)
    for path, content in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(content)
        (tree / path).chmod(0o644 if path.endswith(".service") else 0o755)
    if name == "streamfleet":
        shutil.copy2(BINARY, tree / "usr/bin/streamfleet")
    subprocess.run(
        ["dpkg-deb", "--build", "--root-owner-group", "-Znone", tree, folder / f"{name}.deb"],
        check=True,
        capture_output=True,
    )
    return folder / f"{name}.deb"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A fresh Debian; the one that debootstrap made is kept for the next time."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a Debian to run on")
    if not BINARY.is_file():
        pytest.skip(f"there is no {BINARY}: tests/run aws, or set STREAMFLEET_BIN")
    made = TOOLS / "debian-root"
    if not made.exists():
        next_one = made.with_suffix(".next")
        shutil.rmtree(next_one, ignore_errors=True)
        subprocess.run(
            [
                "sh",
                TOOLS / "debootstrap/usr/sbin/debootstrap",
                "--variant=minbase",
                "--include=ca-certificates",
                "bookworm",
                next_one,
                MIRROR,
            ],
            env={**os.environ, "DEBOOTSTRAP_DIR": str(TOOLS / "debootstrap/usr/share/debootstrap")},
            check=True,
            timeout=540,
            capture_output=True,
        )
        next_one.rename(made)
    root = tmp_path / "root"
    subprocess.run(["cp", "--archive", made, root], check=True)
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    return root


def inside(root: Path, script: str, *options: str, timeout: int = 540) -> str:
    """Runs a script in the root, with a /proc and a /dev of its own that are gone afterwards.

    The first process stays outside: by that systemctl sees that it is in a chroot, and only enables.
    """
    prepare = f'mount -t proc proc "{root}/proc" && mount --rbind /dev "{root}/dev" && chroot "{root}" /bin/bash -euc "$0"; exit $?'
    done = subprocess.run(
        [
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            *options,
            "bash",
            "-c",
            prepare,
            script,
        ],
        env={"PATH": PATHS, "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.mark.soak
def test_a_bare_debian_becomes_a_runner_and_a_gateway_starts(
    cloud_configs: dict, root: Path, metadata: str, tmp_path: Path
) -> None:
    stand_in = root / "stand-in"
    stand_in.mkdir()
    release = package(
        tmp_path,
        "streamfleet",
        {
            "usr/bin/streamfleet": "",
            **{
                f"lib/systemd/system/streamfleet-{role}.service": UNIT.format(role=role)
                for role in ("gateway", "runner")
            },
        },
        "getent passwd streamfleet >/dev/null || useradd --system --home-dir /var/lib/streamfleet streamfleet",
    )
    shutil.copy(release, stand_in / "streamfleet_0.1.0_amd64.deb")
    shutil.copy(
        package(
            tmp_path,
            "amazon-ssm-agent",
            {
                "usr/bin/amazon-ssm-agent": "",
                "lib/systemd/system/amazon-ssm-agent.service": UNIT.format(role="-"),
            },
        ),
        stand_in,
    )
    agent = "opt/aws/amazon-cloudwatch-agent/bin/amazon-cloudwatch-agent-ctl"
    shutil.copy(
        package(
            tmp_path,
            "amazon-cloudwatch-agent",
            {agent: '#!/bin/sh\necho "agent $*" >>/stand-in/calls\n'},
        ),
        stand_in,
    )
    (tmp_path / "streamlit_app.py").write_text("import streamlit\n")
    subprocess.run(
        ["tar", "-czf", stand_in / "app-v1.tar.gz", "-C", tmp_path, "streamlit_app.py"], check=True
    )
    for name, text in (("aws", AWS), ("curl", CURL), ("systemctl", SYSTEMCTL)):
        (root / "usr/local/bin" / name).write_text(text)
        (root / "usr/local/bin" / name).chmod(0o755)
    checksum = subprocess.run(
        ["sha256sum", release], capture_output=True, text=True, check=True
    ).stdout.split()[0]

    def fitted(config: str) -> str:
        return config.replace("0" * 64, checksum).replace("http://169.254.169.254", metadata)

    seed = root / "var/lib/cloud/seed/nocloud"
    seed.mkdir(parents=True)
    (seed / "meta-data").write_text("instance-id: i-0123456789abcdef0\n")
    (seed / "user-data").write_text(fitted(cloud_configs["runner"]))
    inside(
        root,
        "apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -qqy --no-install-recommends cloud-init openssh-server systemd >/dev/null",
    )
    (root / "etc/cloud/cloud.cfg.d/99-test.cfg").write_text(
        "datasource_list: [NoCloud]\nlocale: false\nnetwork: {config: disabled}\n"
    )
    inside(
        root,
        "cloud-init init >/dev/null; cloud-init modules --mode=config >/dev/null; cloud-init modules --mode=final",
    )
    log = (
        (root / "var/log/cloud-init-output.log").read_text()
        if (root / "var/log/cloud-init-output.log").exists()
        else ""
    )
    assert (root / "srv/streamfleet/app/streamlit_app.py").exists(), log[-4000:]

    wanted = root / "etc/systemd/system/multi-user.target.wants"
    assert (wanted / "streamfleet-runner.service").is_symlink()
    assert not (wanted / "streamfleet-gateway.service").is_symlink()
    assert (wanted / "amazon-ssm-agent.service").is_symlink()
    assert (
        root / "etc/streamfleet/instance.env"
    ).read_text() == "STREAMFLEET_NAME=i-0123456789abcdef0\n"
    assert not (root / "usr/sbin/policy-rc.d").exists(), (
        "what forbade servers to start must be gone"
    )
    calls = (stand_in / "calls").read_text().splitlines()
    assert any(call.startswith("agent -a fetch-config") for call in calls)
    assert calls[-1] == "systemctl enable --now streamfleet-runner.service", (
        "the role starts last, when all is there"
    )
    mode = (root / "etc/streamfleet/secrets/secret").stat().st_mode & 0o777
    assert mode == 0o640

    # The same machine as a gateway, by the scripts themselves; and then what its unit starts, with a Redis, in a network of its own.
    for file in yaml.safe_load(fitted(cloud_configs["gateway"]))["write_files"]:
        path = root / file["path"].lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file["content"])
        path.chmod(int(file["permissions"], 8))
    inside(root, "/usr/local/lib/streamfleet/streamfleet-boot")
    assert (wanted / "streamfleet-gateway.service").is_symlink()
    assert not (wanted / "streamfleet-runner.service").is_symlink()
    inside(
        root,
        "DEBIAN_FRONTEND=noninteractive apt-get install -qqy --no-install-recommends iproute2 redis-server >/dev/null",
    )
    command = next(
        line.partition("=")[2]
        for line in (root / "etc/systemd/system/streamfleet-gateway.service.d/50-terraform.conf")
        .read_text()
        .splitlines()
        if line.startswith("ExecStart=/")
    )
    told = inside(
        root,
        f"""ip link set lo up
        redis-server --save '' --daemonize yes >/dev/null
        set -a; . /etc/streamfleet/instance.env; . /etc/streamfleet/secrets/environment; set +a
        {command} &
        /usr/bin/curl --silent --retry 60 --retry-delay 1 --retry-all-errors --fail http://127.0.0.1:8502/livez
        kill -TERM $!; kill -TERM $!
        wait $! || true""",
        "--net",
        timeout=120,
    )
    assert "ok" in told
