"""What the tests of terraform/ share: Terraform with a provider that needs no network, in a copy of the folders it reads."""

import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / "target/terraform"
HERE = Path(__file__).parent
SCHEMA_VERSION = "6.66.0"
REAL_VERSION = "3.39.0"

MODULES = sorted(path.name for path in (ROOT / "terraform/modules").iterdir())
ENVIRONMENTS = sorted(path.name for path in (ROOT / "terraform/environments").iterdir())

VARIABLES = {
    "region": "eu-central-1",
    "release": {"url": "s3://releases/streamfleet_0.1.0_amd64.deb", "sha256": "0" * 64},
    "app": {"archive": "s3://apps/app-{revision}.tar.gz"},
    "revision": "v1",
    "domain": "app.example.com",
    "certificate_arn": "arn:aws:acm:eu-central-1:123456789012:certificate/00000000-0000-0000-0000-000000000000",
    "zone_id": "Z0123456789",
}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "soak: takes minutes; runs with STREAMFLEET_SOAK=1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("STREAMFLEET_SOAK") == "1":
        return
    for item in items:
        if item.get_closest_marker("soak"):
            item.add_marker(pytest.mark.skip(reason="takes minutes: set STREAMFLEET_SOAK=1"))


class Terraform:
    """Terraform in a folder of its own, with providers from a mirror on disk."""

    def __init__(self, folder: Path, mirror: Path) -> None:
        self.folder = folder
        settings = folder / "terraform.rc"
        settings.write_text(
            "disable_checkpoint = true\n"
            f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror}"\n  }}\n}}\n'
        )
        self.environment = {
            **os.environ,
            "TF_CLI_CONFIG_FILE": str(settings),
            "TF_IN_AUTOMATION": "1",
        }

    def __call__(self, where: str, *arguments: str, codes: tuple = (0,), timeout: int = 300) -> str:
        """Runs a command in a folder, and returns what it printed; fails with all of it."""
        done = subprocess.run(
            ["terraform", *arguments],
            cwd=self.folder / where,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode in codes, (
            f"terraform {arguments} in {where}:\n{done.stdout}\n{done.stderr}"
        )
        return done.stdout

    def init(self, where: str) -> None:
        self(where, "init", "-no-color", "-input=false", "-backend=false")

    def variables(self, where: str, **changed: object) -> str:
        """Writes an environment's variables, and returns the option that names them."""
        path = self.folder / where / "test.tfvars.json"
        path.write_text(json.dumps({**VARIABLES, **changed}))
        return f"-var-file={path}"


@pytest.fixture(scope="session")
def terraform_binary() -> str:
    """Terraform. Without it nothing here says anything about the modules, so that is no pass."""
    found = shutil.which("terraform")
    if found is None:
        message = "terraform isn't on PATH (see tests/terraform/setup)"
        if os.environ.get("STREAMFLEET_WITHOUT_TERRAFORM") == "1":
            pytest.skip(message)
        pytest.fail(message)
    return found


def copy_of(folder: Path) -> None:
    """Copies what the modules consist of and read."""
    ignore = shutil.ignore_patterns(".terraform*", "*.tfstate*")
    shutil.copytree(ROOT / "terraform", folder / "terraform", ignore=ignore)
    shutil.copytree(ROOT / "infra", folder / "infra")


def provider_folder(mirror: Path, version: str) -> Path:
    path = mirror / f"registry.terraform.io/hashicorp/aws/{version}/linux_amd64"
    path.mkdir(parents=True)
    return path


@pytest.fixture(scope="session")
def stub(terraform_binary: str, tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    """Terraform with today's schema, rebuilt."""
    folder = tmp_path_factory.mktemp("stub")
    copy_of(folder)
    schema = folder / "schema.json"
    python = TOOLS / "py/bin/python"
    subprocess.run(
        [python, HERE / "stub/schema.py", TOOLS / "schema.tgz", schema, folder / "terraform"],
        check=True,
        timeout=120,
    )
    provider = (
        provider_folder(folder / "mirror", SCHEMA_VERSION)
        / f"terraform-provider-aws_v{SCHEMA_VERSION}"
    )
    # The library keeps a certificate in the home folder.
    provider.write_text(
        f'#!/bin/sh\nHOME="{folder}" exec "{python}" "{HERE}/stub/provider.py" "{schema}"\n'
    )
    provider.chmod(0o755)
    return Terraform(folder, folder / "mirror")


@pytest.fixture(scope="session")
def applied(stub: Terraform) -> dict[str, dict]:
    """Both environments, applied against the stub: their state, as Terraform shows it in JSON."""
    states = {}
    for name in ENVIRONMENTS:
        where = f"terraform/environments/{name}"
        stub.init(where)
        stub(where, "apply", "-auto-approve", "-no-color", stub.variables(where))
        states[name] = json.loads(stub(where, "show", "-json"))
    return states


@pytest.fixture(scope="session")
def cloud_configs(applied: dict[str, dict]) -> dict[str, str]:
    """The user data of each kind of machine in `production`."""
    return applied["production"]["values"]["outputs"]["cloud_config"]["value"]


def resources(state: dict, kind: str) -> dict[str, dict]:
    """The resources of a kind, by address."""
    found, modules = {}, [state["values"]["root_module"]]
    while modules:
        module = modules.pop()
        modules.extend(module.get("child_modules", []))
        found.update(
            {r["address"]: r["values"] for r in module.get("resources", []) if r["type"] == kind}
        )
    return found


@pytest.fixture(scope="session")
def real_provider(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mirror with HashiCorp's own build of an older provider."""
    mirror = tmp_path_factory.mktemp("mirror")
    archive = next(
        TOOLS.glob(
            f"py/lib/python3*/site-packages/cloudrail/terraform_plugins/*aws_{REAL_VERSION}_linux*.zip"
        )
    )
    folder = provider_folder(mirror, REAL_VERSION)
    with zipfile.ZipFile(archive) as package:
        package.extractall(folder)
    for path in folder.iterdir():
        path.chmod(0o755)
    return mirror
