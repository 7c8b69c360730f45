"""A real apply, second plan and destroy of `minimal`, by HashiCorp's older provider against an emulator of AWS.

The emulator listens on all addresses, so it runs in a network of its own together with Terraform.
"""

import json
import os
import re
import subprocess
from pathlib import Path

import overlay
import pytest
from conftest import TOOLS, VARIABLES, Terraform, copy_of

SERVICES = [
    "autoscaling",
    "cloudwatch",
    "cloudwatchlogs",
    "ec2",
    "elasticache",
    "elb",
    "iam",
    "route53",
    "s3",
    "secretsmanager",
    "ssm",
    "sts",
]

# What the second plan would change, as (type, argument), and whose doing it is. Anything else fails the test, and so does a line that isn't
# needed any more.
DRIFT = {
    **{
        (
            "aws_cloudwatch_metric_alarm",
            name,
        ): "the emulator answers in the newer protocol, which the old provider reads as empty"
        for name in (
            "actions_enabled",
            "alarm_description",
            "dimensions",
            "period",
            "statistic",
            "treat_missing_data",
        )
    },
    (
        "aws_autoscaling_group",
        "target_group_arns",
    ): "the emulator forgets the target group that it was given",
    ("aws_autoscaling_group", "launch_template"): "follows from the launch template below",
    (
        "aws_launch_template",
        "network_interfaces",
    ): "the emulator drops security groups and delete_on_termination of an interface",
    ("aws_launch_template", "latest_version"): "follows from the line above",
    ("aws_launch_template", "default_version"): "follows from the line above",
    (
        "aws_elasticache_parameter_group",
        "parameter",
    ): "the emulator lists defaults as if they had been set",
    (
        "aws_elasticache_replication_group",
        "auto_minor_version_upgrade",
    ): "the emulator answers false, whatever was asked",
    (
        "aws_s3_bucket",
        "server_side_encryption_configuration",
    ): "S3 encrypts unasked; the overlay has no encryption of ours (contents.tf)",
}

SCRIPT = """
ip link set lo up
"$MINISTACK" >ministack.log 2>&1 &
server=$!
trap 'kill $server; wait $server || true' EXIT
curl --silent --retry 60 --retry-delay 1 --retry-all-errors --output /dev/null http://127.0.0.1:4566/
cd terraform/environments/minimal
terraform init -no-color -backend=false
terraform apply -no-color -auto-approve -var-file=test.tfvars.json
code=0
terraform plan -no-color -detailed-exitcode -out=second -var-file=test.tfvars.json || code=$?
((code != 1))
terraform show -json second >second.json
terraform destroy -no-color -auto-approve -var-file=test.tfvars.json
"""


@pytest.mark.soak
def test_apply_plan_destroy(terraform_binary: str, real_provider: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make a network for the emulator")
    copy_of(tmp_path)
    overlay.lay(tmp_path / "terraform/modules")
    where = tmp_path / "terraform/environments/minimal"
    endpoints = "".join(f'    {name} = "http://127.0.0.1:4566"\n' for name in SERVICES)
    provider = f"  skip_credentials_validation = true\n  skip_metadata_api_check = true\n  s3_force_path_style = true\n  endpoints {{\n{endpoints}  }}\n"
    edit(where / "versions.tf", "  region = var.region\n", f"  region = var.region\n{provider}")
    # The old provider can't read back the name "6.x", which the emulator takes literally.
    edit(tmp_path / "terraform/modules/redis/main.tf", '"6.x" : "6.x"', '"5.0.6" : "5.0.6"')
    edit(tmp_path / "terraform/modules/redis/main.tf", '"redis6.x"', '"redis5.0"')
    # The emulator has no EnableMetricsCollection.
    edit(
        tmp_path / "terraform/modules/runner/main.tf", "  enabled_metrics ", "  # enabled_metrics "
    )
    variables = {name: value for name, value in VARIABLES.items() if name != "zone_id"}
    # As on AWS, nobody may write the parameter that names Debian's image.
    variables["image_id"] = "ami-0123456789abcdef0"
    (where / "test.tfvars.json").write_text(json.dumps(variables))

    terraform = Terraform(tmp_path, real_provider)
    keys = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "MINISTACK": str(TOOLS / "py/bin/ministack"),
    }
    done = subprocess.run(
        ["unshare", "--net", "--pid", "--fork", "--kill-child", "bash", "-euc", SCRIPT],
        cwd=tmp_path,
        env={**terraform.environment, **keys},
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    assert re.search(r"Destroy complete! Resources: \d{2,} destroyed", done.stdout)
    plan = json.loads((where / "second.json").read_text())
    assert changed(plan) == set(DRIFT), "drift that nobody has named, or that is gone"


def changed(plan: dict) -> set[tuple[str, str]]:
    """What a plan would change: types, and the arguments that differ."""
    found = set()
    for resource in plan["resource_changes"]:
        change = resource["change"]
        if change["actions"] != ["no-op"]:
            before, after = change["before"] or {}, change["after"] or {}
            found |= {
                (resource["type"], name)
                for name in before.keys() | after.keys()
                if before.get(name) != after.get(name)
            }
    return found


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, f"{path} has no {old!r}"
    path.write_text(text.replace(old, new))
