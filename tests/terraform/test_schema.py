"""The modules against today's provider schema: each is initialised, validated and tested; environments are applied, changed, destroyed."""

import json
import subprocess

import pytest
from conftest import ENVIRONMENTS, MODULES, ROOT, Terraform, resources


def test_format(terraform_binary: str) -> None:
    done = subprocess.run(
        [terraform_binary, "fmt", "-check", "-recursive", "-diff", "terraform"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("module", MODULES)
def test_module(stub: Terraform, module: str) -> None:
    where = f"terraform/modules/{module}"
    stub.init(where)
    if module != "secrets":  # its ephemeral outputs are for other modules only, which its test is
        stub(where, "validate", "-no-color")
    told = stub(where, "test", "-no-color")
    assert ", 0 failed" in told, told
    assert "Success! 0 passed" not in told, f"{module} has no tests"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_second_plan_is_empty(stub: Terraform, applied: dict, environment: str) -> None:
    where = f"terraform/environments/{environment}"
    stub(where, "validate", "-no-color")
    assert resources(applied[environment], "aws_autoscaling_group"), "nothing was applied"
    stub(where, "plan", "-no-color", "-detailed-exitcode", stub.variables(where))


def changes(stub: Terraform, environment: str, **changed: object) -> dict[str, list[str]]:
    """What an apply with other variables would do."""
    where = f"terraform/environments/{environment}"
    stub(where, "plan", "-no-color", f"-out={stub.folder}/plan", stub.variables(where, **changed))
    plan = json.loads(stub(where, "show", "-json", f"{stub.folder}/plan"))
    return {
        c["address"]: c["change"]["actions"]
        for c in plan["resource_changes"]
        if c["change"]["actions"] != ["no-op"]
    }


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_another_revision_changes_only_what_rolls_the_runners(
    stub: Terraform, applied: dict, environment: str
) -> None:
    assert changes(stub, environment, revision="v2") == {
        "module.cluster.module.runner.aws_launch_template.this": ["update"],
        "module.cluster.module.runner.aws_autoscaling_group.this": ["update"],
    }


def test_another_password_replaces_machines_and_leaves_the_old_one(
    stub: Terraform, applied: dict
) -> None:
    changed = changes(stub, "production", secret_versions={"redis": 2})
    assert changed == {
        'module.cluster.module.redis.aws_elasticache_user.fleet["b"]': ["update"],
        "module.cluster.module.secrets.aws_secretsmanager_secret_version.redis": ["update"],
        **{
            f"module.cluster.module.{role}.{kind}.this": ["update"]
            for role in ("gateway", "runner")
            for kind in ("aws_launch_template", "aws_autoscaling_group")
        },
    }


def test_no_secret_is_kept(stub: Terraform, applied: dict) -> None:
    """Passwords are ephemeral and write-only, so the state may have none."""
    for environment, state in applied.items():
        for kind in ("aws_secretsmanager_secret_version", "aws_elasticache_user"):
            found = resources(state, kind)
            assert found, f"{environment} has no {kind}"
            for address, values in found.items():
                for name in (
                    "secret_string",
                    "secret_string_wo",
                    "secret_binary",
                    "passwords",
                    "passwords_wo",
                ):
                    assert not values.get(name), f"{environment}: {address}.{name} is in the state"


def test_wrong_numbers_are_refused(stub: Terraform, applied: dict) -> None:
    where = "terraform/environments/production"
    arguments = ["plan", "-no-color", stub.variables(where, drain_limit=400)]
    done = subprocess.run(
        ["terraform", *arguments],
        cwd=stub.folder / where,
        env=stub.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "give at least 460" in " ".join(done.stderr.replace("│", " ").split())


def test_a_network_of_ones_own(stub: Terraform, applied: dict) -> None:
    where = "terraform/environments/production"
    ids = [f"subnet-{letter}" for letter in "abc"]
    network = {
        "vpc_id": "vpc-1",
        "cidr": "10.0.0.0/16",
        "public_subnet_ids": ids,
        "private_subnet_ids": ids,
    }
    planned = stub(where, "plan", "-no-color", stub.variables(where, network=network))
    assert "module.network[0].aws_vpc.this will be destroyed" in planned


def test_everything_goes(stub: Terraform, applied: dict) -> None:
    """In a copy of the state, as other tests may still want to see it."""
    where = "terraform/environments/minimal"
    state = stub.folder / "copy.tfstate"
    state.write_bytes((stub.folder / where / "terraform.tfstate").read_bytes())
    told = stub(
        where, "destroy", "-auto-approve", "-no-color", f"-state={state}", stub.variables(where)
    )
    assert "Destroy complete!" in told
    assert json.loads(state.read_text())["resources"] == []
