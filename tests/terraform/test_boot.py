"""The rendered user data: cloud-init's own schema accepts it, and shellcheck and bash its scripts."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml
from conftest import TOOLS

ROLES = ["gateway", "runner", "collector"]


@pytest.mark.parametrize("role", ROLES)
def test_cloud_init_accepts_it(cloud_configs: dict, tmp_path: Path, role: str) -> None:
    config = tmp_path / "user-data"
    config.write_text(cloud_configs[role])
    assert check(config) == "Valid"
    broken = yaml.safe_load(cloud_configs[role])
    broken["write_files"][0]["permissions"] = 755
    config.write_text("#cloud-config\n" + yaml.safe_dump(broken))
    assert check(config) == "Invalid"


def check(config: Path) -> str:
    """What `cloud-init schema` of Debian 12 says."""
    modules = TOOLS / "cloud-init/usr/lib/python3/dist-packages"
    done = subprocess.run(
        [
            TOOLS / "py/bin/python",
            "-c",
            "import sys; from cloudinit.config.schema import main; sys.exit(main())",
            "--config-file",
            config,
        ],
        env={**os.environ, "PYTHONPATH": str(modules)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = done.stdout + done.stderr
    if done.returncode == 0 and "Valid cloud-config" in said:
        return "Valid"
    assert "Cloud config schema errors" in said, said
    return "Invalid"


@pytest.mark.parametrize("role", ROLES)
def test_its_shell(cloud_configs: dict, tmp_path: Path, role: str) -> None:
    scripts = []
    for file in yaml.safe_load(cloud_configs[role])["write_files"]:
        if file["content"].startswith("#!"):
            script = tmp_path / Path(file["path"]).name
            script.write_text(file["content"])
            scripts.append(script)
        elif file["path"].endswith("boot.env"):
            # It is sourced, so it has to be shell as well, and to say what it means.
            env = tmp_path / "boot.env"
            env.write_text(file["content"])
            told = subprocess.run(
                ["bash", "-euc", f'source "{env}"; echo "$ROLE $OTHER_ROLE $REGION"'],
                capture_output=True,
                text=True,
                check=True,
            )
            assert told.stdout.split() == [
                role,
                "runner" if role == "gateway" else "gateway",
                "eu-central-1",
            ]
    assert scripts, "there is nothing to check"
    done = subprocess.run(
        ["shellcheck", *scripts], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout


class Machine:
    """The scripts of a runner, run with stand-ins for what only AWS has."""

    def __init__(self, folder: Path, config: str) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir()
        for file in yaml.safe_load(config)["write_files"]:
            path = folder / file["path"].lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file["content"])
            path.chmod(int(file["permissions"], 8))
        self.secrets = folder / "etc/streamfleet/secrets"
        self.stand_in("chgrp", "exit 0")
        self.stand_in("install", 'mkdir -p "${@: -1}"')

    def stand_in(self, name: str, body: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)

    def run(self, script: str, **settings: str) -> subprocess.CompletedProcess:
        env = self.folder / "etc/streamfleet/boot.env"
        text = env.read_text() + "".join(f"{name}='{value}'\n" for name, value in settings.items())
        changed = self.folder / "boot.env"
        changed.write_text(text)
        return subprocess.run(
            [self.folder / f"usr/local/lib/streamfleet/{script}"],
            env={
                **os.environ,
                "PATH": f"{self.bin}:{os.environ['PATH']}",
                "STREAMFLEET_BOOT_ENV": str(changed),
                "SECRETS_FOLDER": str(self.secrets),
                "APP_ROOT": str(self.folder / "srv"),
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def machine(cloud_configs: dict, tmp_path: Path) -> Machine:
    return Machine(tmp_path, cloud_configs["runner"])


def test_secrets_arrive_and_are_replaced(machine: Machine) -> None:
    machine.stand_in(
        "aws",
        '[[ $* != *AWSPREVIOUS* ]] || exit 254; while [[ $1 != --secret-id ]]; do shift; done; echo "value of $2"',
    )
    first = machine.run("streamfleet-secrets")
    assert first.returncode == 0, first.stderr
    assert (
        machine.secrets / "environment"
    ).read_text() == "STREAMFLEET_REDIS=value of streamfleet/redis\n"
    assert (machine.secrets / "secret").read_text() == "value of streamfleet/secret\n"
    assert (machine.secrets / "admin-token").read_text() == "value of streamfleet/admin-token"
    assert (machine.secrets / "secret").stat().st_mode & 0o777 == 0o640
    before = (machine.secrets / "secret").stat().st_ino

    machine.run("streamfleet-secrets")
    assert (machine.secrets / "secret").stat().st_ino == before, (
        "what hasn't changed must stay the file it is"
    )

    machine.stand_in("aws", "[[ $* == *AWSPREVIOUS* ]] && echo old || echo new")
    machine.run("streamfleet-secrets")
    assert (machine.secrets / "secret").read_text() == "new\nold\n", (
        "the new one signs, the old one is believed"
    )
    assert (machine.secrets / "admin-token").read_text() == "new"
    assert not list(machine.secrets.glob(".next*"))


def test_an_unreachable_secret_leaves_the_old_one(machine: Machine) -> None:
    machine.stand_in("aws", "echo value")
    machine.run("streamfleet-secrets")
    machine.stand_in("aws", "exit 254")
    assert machine.run("streamfleet-secrets").returncode != 0
    assert (machine.secrets / "admin-token").read_text() == "value"


def test_certificates_are_taken_apart(machine: Machine) -> None:
    machine.stand_in("aws", """echo '{"ca": "A", "cert": "B", "key": "C"}'""")
    done = machine.run("streamfleet-secrets", SECRETS="tls-runner=streamfleet/tls-runner")
    assert done.returncode == 0, done.stderr
    assert [(machine.secrets / f"{part}.pem").read_text() for part in ("ca", "cert", "key")] == [
        "A",
        "B",
        "C",
    ]


def test_an_archive_becomes_the_app(machine: Machine, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for revision in ("v1", "v2"):
        (source / "streamlit_app.py").write_text(revision)
        subprocess.run(
            ["tar", "-czf", tmp_path / f"{revision}.tar.gz", "-C", source, "."], check=True
        )
        machine.stand_in("aws", f'cp "{tmp_path / revision}.tar.gz" "${{@: -1}}"')
        done = machine.run("streamfleet-app", APP_SOURCE=f"s3://apps/{revision}.tar.gz")
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "srv/app/streamlit_app.py").read_text() == revision
    assert sorted(path.name for path in (tmp_path / "srv").iterdir()) == ["app"]


def test_an_archive_without_the_script_leaves_the_app(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text("")
    subprocess.run(["tar", "-czf", tmp_path / "app.tar.gz", "-C", tmp_path, "other.py"], check=True)
    machine.stand_in("aws", f'cp "{tmp_path}/app.tar.gz" "${{@: -1}}"')
    done = machine.run("streamfleet-app", APP_SOURCE="s3://apps/app.tar.gz")
    assert done.returncode == 1
    assert "has no streamlit_app.py" in done.stderr
    assert not (tmp_path / "srv/app").exists()


def test_a_git_commit_becomes_the_app(machine: Machine, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    (repository / "ui").mkdir(parents=True)
    (repository / "ui/main.py").write_text("print()")
    git = ["git", "-C", repository, "-c", "user.name=T", "-c", "user.email=t@example.com"]
    for arguments in (
        ["init", "--quiet"],
        ["add", "."],
        ["commit", "--quiet", "--message", "An app"],
        ["tag", "v1"],
    ):
        subprocess.run([*git, *arguments], check=True)
    done = machine.run(
        "streamfleet-app",
        APP_KIND="git",
        APP_SOURCE=f"file://{repository}",
        APP_REVISION="v1",
        APP_PATH="ui",
        APP_SCRIPT="main.py",
    )
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "srv/app").iterdir()] == ["main.py"]


def test_an_image_becomes_the_app(machine: Machine, tmp_path: Path) -> None:
    machine.stand_in("aws", "echo token")
    machine.stand_in(
        "podman",
        f'echo "$*" >> "{tmp_path}/podman"; [[ $1 != login ]] || cat >/dev/null; [[ $1 != create ]] || echo box; [[ $1 != cp ]] || touch "$3/streamlit_app.py"',
    )
    image = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/app:v1"
    done = machine.run("streamfleet-app", APP_KIND="image", APP_SOURCE=image)
    assert done.returncode == 0, done.stderr
    calls = (tmp_path / "podman").read_text().splitlines()
    assert [call.split()[0] for call in calls] == ["login", "pull", "create", "cp", "rm"]
    assert "box:/app/." in calls[3]
    assert (tmp_path / "srv/app/streamlit_app.py").exists()
