"""What a release consists of: the archive of a static binary, the Debian package, the bill of materials, checksums."""

import hashlib
import json
import os
import subprocess
import tarfile
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "infra/release/build"
TARGET = "x86_64-unknown-linux-gnu"
VERSION = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
PROGRAM = f"""fn main() {{ println!("streamfleet {VERSION}") }}"""


def program(folder, text=PROGRAM, static=True):
    """A program that says which version it is. Building the real one takes ten minutes; STREAMFLEET_STATIC_BIN names one that is there."""
    if static and text == PROGRAM and (built := os.environ.get("STREAMFLEET_STATIC_BIN")):
        return Path(built)
    source = folder / "main.rs"
    source.write_text(text)
    path = folder / ("static" if static else "dynamic")
    linking = f"target-feature={'+' if static else '-'}crt-static"
    command = ["rustc", "-C", linking, "-C", "relocation-model=static", "-o", path, source]
    subprocess.run(command, check=True)
    return path


def build(*options):
    return subprocess.run([BUILD, *options], capture_output=True, text=True)


@pytest.fixture
def files(tmp_path):
    return program(tmp_path), program(tmp_path, static=False)


def test_a_release(files, tmp_path):
    static, dynamic = files
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        made = build("--static", static, "--binary", dynamic, "--out", folder)
        assert made.returncode == 0, made.stderr
    machine = os.uname().machine
    archive = f"streamfleet-{VERSION}-linux-{machine}.tar.gz"
    names = {path.name for path in folders[0].iterdir()}
    debian = next(name for name in names if name.endswith(".deb"))
    bill = f"streamfleet-{VERSION}.cdx.json"
    assert names == {archive, debian, bill, "SHA256SUMS"}

    sums = dict(
        reversed(line.split()) for line in (folders[0] / "SHA256SUMS").read_text().splitlines()
    )
    assert sums == {
        name: hashlib.sha256((folders[0] / name).read_bytes()).hexdigest()
        for name in names - {"SHA256SUMS"}
    }
    for name in (archive, bill):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name

    with tarfile.open(folders[0] / archive) as packed:
        members = {member.name.partition("/")[2]: member for member in packed.getmembers()}
        assert members.keys() - {""} == {"CHANGELOG.md", "LICENSE", "README.md", "streamfleet"}
        assert {(member.uid, member.gid) for member in members.values()} == {(0, 0)}
        packed.extractall(tmp_path / "unpacked", filter="data")
    unpacked = tmp_path / f"unpacked/streamfleet-{VERSION}-linux-{machine}/streamfleet"
    said = subprocess.run([unpacked, "--version"], capture_output=True, text=True).stdout
    assert said == f"streamfleet {VERSION}\n"


def test_what_is_no_release(files, tmp_path):
    static, dynamic = files
    refused = build("--static", dynamic, "--binary", dynamic, "--out", tmp_path / "out")
    assert refused.returncode == 1
    assert "is not static" in refused.stderr
    other = tmp_path / "other"
    other.mkdir()
    old = program(other, PROGRAM.replace(VERSION, "0.0.0"))
    refused = build("--static", old, "--binary", dynamic, "--out", tmp_path / "out")
    assert "says that it is 'streamfleet 0.0.0'" in refused.stderr
    refused = build("--static", static, "--binary", dynamic, "--out", tmp_path)
    assert "there are files in" in refused.stderr
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def bill():
    command = [ROOT / "infra/release/sbom", "--target", TARGET, "--features", "aws"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_the_bill_keeps_to_its_schema(bill):
    program = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(sys.stdin.read())
sys.exit(str(problem) if problem else 0)
"""
    python = ROOT / "target/packaging/bin/python"
    checked = subprocess.run([python, "-c", program], input=bill, text=True, capture_output=True)
    assert checked.returncode == 0, checked.stderr


def test_the_bill_names_what_is_linked(bill):
    told = json.loads(bill)
    parts = {part["bom-ref"]: part for part in told["components"]}
    assert len(parts) == len(told["components"])
    scopes = {part["name"]: part["scope"] for part in parts.values()}
    assert scopes["tokio"] == scopes["object_store"] == "required"
    assert scopes["clap_derive"] == scopes["protox"] == "excluded", "run when it is built"
    for absent in ("proptest", "streamfleet-testkit", "windows-sys"):
        assert absent not in scopes

    locked = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    sums = {f"pkg:cargo/{p['name']}@{p['version']}": p.get("checksum") for p in locked}
    for name, part in parts.items():
        digests = [digest["content"] for digest in part.get("hashes", [])]
        assert digests == ([sums[name]] if sums[name] else []), name
        assert part["licenses"], name
    known = {*parts, told["metadata"]["component"]["bom-ref"]}
    for entry in told["dependencies"]:
        assert {entry["ref"], *entry["dependsOn"]} <= known
