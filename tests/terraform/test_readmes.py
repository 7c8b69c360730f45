"""Every module and environment has a README whose tables are current."""

import subprocess

from conftest import ENVIRONMENTS, MODULES, ROOT


def test_tables_are_current() -> None:
    done = subprocess.run(
        [ROOT / "terraform/describe", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_files_are_where_they_are_looked_for() -> None:
    for kind, names in (("modules", MODULES), ("environments", ENVIRONMENTS)):
        for name in names:
            for file in ("main.tf", "variables.tf", "outputs.tf", "versions.tf", "README.md"):
                assert (ROOT / "terraform" / kind / name / file).is_file(), (
                    f"terraform/{kind}/{name} has no {file}"
                )
    for name in MODULES:
        assert list((ROOT / "terraform/modules" / name / "tests").glob("*.tftest.hcl")), (
            f"terraform/modules/{name} has no tests"
        )


def test_required_variables_come_first() -> None:
    for path in (ROOT / "terraform").glob("*/*/variables.tf"):
        blocks = path.read_text().split("\nvariable ")[1:]
        optional = ["\n  default " in block for block in blocks]
        assert optional == sorted(optional), (
            f"{path}: a variable that must be given stands after one that may be left out"
        )


def test_costs_are_current() -> None:
    done = subprocess.run(
        [ROOT / "terraform/cost", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
