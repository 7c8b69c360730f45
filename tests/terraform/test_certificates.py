"""terraform/certificates: what it makes is what OpenSSL takes for these names, and the CA before stays known."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A folder in which a stand-in for the AWS command line keeps secrets."""
    binary = tmp_path / "bin/aws"
    binary.parent.mkdir()
    binary.write_text(
        f"""#!/bin/bash
verb=$2; shift 2
while (($#)); do case $1 in --secret-id) id=${{2//\\//_}} ;; --secret-string) text=${{2#file://}} ;; esac; shift; done
case $verb in
  get-secret-value) cat "{tmp_path}/$id" ;;
  put-secret-value) cp "$text" "{tmp_path}/$id" ;;
esac
"""
    )
    binary.chmod(0o755)
    return tmp_path


def make(folder: Path) -> dict[str, dict[str, str]]:
    path = f"{folder}/bin:{os.environ['PATH']}"
    subprocess.run(
        [ROOT / "terraform/certificates", "fleet"],
        env={**os.environ, "PATH": path},
        check=True,
        timeout=60,
        capture_output=True,
    )
    return {
        role: json.loads((folder / f"fleet_tls-{role}").read_text())
        for role in ("gateway", "runner")
    }


def verify(folder: Path, ca: str, certificate: str, name: str) -> int:
    (folder / "ca.pem").write_text(ca)
    (folder / "cert.pem").write_text(certificate)
    command = [
        "openssl",
        "verify",
        "-CAfile",
        folder / "ca.pem",
        "-verify_hostname",
        name,
        folder / "cert.pem",
    ]
    return subprocess.run(command, capture_output=True, check=False).returncode


def test_both_sides_know_each_other(made: Path) -> None:
    first = make(made)
    for role in ("gateway", "runner"):
        name = f"{role}.streamfleet.internal"
        other = "runner" if role == "gateway" else "gateway"
        assert verify(made, first[other]["ca"], first[role]["cert"], name) == 0
        assert (
            verify(made, first[other]["ca"], first[role]["cert"], f"{other}.streamfleet.internal")
            != 0
        )
        assert "PRIVATE KEY" in first[role]["key"]

    second = make(made)
    assert (
        verify(
            made, second["gateway"]["ca"], first["runner"]["cert"], "runner.streamfleet.internal"
        )
        == 0
    ), "rotation has no overlap"
    assert (
        verify(
            made, first["gateway"]["ca"], second["runner"]["cert"], "runner.streamfleet.internal"
        )
        != 0
    )

    third = make(made)
    assert (
        verify(made, third["gateway"]["ca"], first["runner"]["cert"], "runner.streamfleet.internal")
        != 0
    ), "old CAs pile up"
