"""What the tests of packaging share."""

import os
import subprocess
from pathlib import Path

import pytest
from machine import Machine

ROOT = Path(__file__).parents[2]
BINARY = Path(os.environ.get("STREAMFLEET_BIN", ROOT / "target/release/streamfleet"))


@pytest.fixture(scope="session")
def package(tmp_path_factory):
    """Makes a package of this version."""
    if not BINARY.exists():
        pytest.fail(f"there is no {BINARY}: build it, or set STREAMFLEET_BIN")
    folder = tmp_path_factory.mktemp("packages")

    def build(version):
        program = ROOT / "infra/debian/build"
        command = [program, "--binary", BINARY, "--version", version, "--out", folder]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    return build


@pytest.fixture
def machines(tmp_path):
    """Makes machines, and ends them."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a machine to install on")
    made = []

    def make(**options):
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Machine(folder, **options))
        return made[-1]

    yield make
    for machine in made:
        machine.end()
