"""The modules against HashiCorp's own build of an older provider, with what is newer taken out (overlay.py)."""

from pathlib import Path

import overlay
import pytest
from conftest import ENVIRONMENTS, MODULES, Terraform, copy_of


@pytest.fixture(scope="session")
def old(
    terraform_binary: str, real_provider: Path, tmp_path_factory: pytest.TempPathFactory
) -> Terraform:
    folder = tmp_path_factory.mktemp("provider")
    copy_of(folder)
    overlay.lay(folder / "terraform/modules")
    return Terraform(folder, real_provider)


@pytest.mark.parametrize("module", MODULES)
def test_module(old: Terraform, module: str) -> None:
    where = f"terraform/modules/{module}"
    old.init(where)
    old(where, "validate", "-no-color")
    # The other two have no mocks, as they are tested against the stub: they ask AWS, or the ephemeral resources that this lacks.
    if module not in ("cluster", "secrets"):
        told = old(where, "test", "-no-color")
        assert ", 0 failed" in told, told


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_environment(old: Terraform, environment: str) -> None:
    where = f"terraform/environments/{environment}"
    old.init(where)
    old(where, "validate", "-no-color")


@pytest.mark.parametrize(
    ("file", "right", "wrong", "says"),
    [
        ("gateway/balancer.tf", '"HTTP_301"', '"HTTP_999"', "HTTP_301"),
        (
            "runner/main.tf",
            'http_tokens                 = "required"',
            'http_tokens = "needed"',
            "http_tokens",
        ),
        ("network/flow-logs.tf", '"ALL"', '"EVERYTHING"', "traffic_type"),
    ],
)
def test_it_would_say_so(old: Terraform, file: str, right: str, wrong: str, says: str) -> None:
    """What the stub of today's schema can't see: wrong values."""
    path = old.folder / "terraform/modules" / file
    text = path.read_text()
    path.write_text(text.replace(right, wrong))
    try:
        where = f"terraform/modules/{file.partition('/')[0]}"
        old.init(where)
        told = old(where, "validate", "-no-color", "-json", codes=(1,))
        assert says in told
    finally:
        path.write_text(text)
