"""Each AWS API call has its allow, and each allow a call: policies, scripts and Rust code held against terraform/aws/api-calls.txt."""

import json
import re

import pytest
from conftest import ROOT, resources
from parliament import analyze_policy_string

CALLS = ROOT / "terraform/aws/api-calls.txt"

# Calls that the list and the policies have, but the Rust code hasn't yet, with the reason. Tests of these are skipped, by name. Whoever
# adds the code takes the line out.
PENDING: dict[str, str] = {}

# Calls that the program may make elsewhere but never in a cluster made here, with the reason why they aren't allowed.
NOT_HERE = {
    "secretsmanager:GetSecretValue": "allowed, but made by our scripts: the program is given files",
}

# How the crate `object_store` says it: it has no method per action, but needs these of any S3.
OBJECT_STORE = {
    "s3:GetObject",
    "s3:PutObject",
    "s3:DeleteObject",
    "s3:AbortMultipartUpload",
    "s3:ListBucket",
}

# What the AWS command line's words in our scripts call.
COMMANDS = {
    "aws s3 cp": {"s3:GetObject"},
    "aws secretsmanager get-secret-value": {"secretsmanager:GetSecretValue"},
    "aws ecr get-login-password": {"ecr:GetAuthorizationToken"},
    "podman pull": {"ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"},
}


def listed() -> list[tuple[str, str, str]]:
    """The list, as (role, action, caller)."""
    lines = (line.partition("#")[0].split() for line in CALLS.read_text().splitlines())
    return [tuple(words) for words in lines if words]


def policies(state: dict) -> dict[str, dict]:
    """Policies by role."""
    found = resources(state, "aws_iam_role_policy")
    return {
        address.split('"')[1]: json.loads(values["policy"])
        for address, values in found.items()
        if ".module.iam." in address
    }


def actions(policy: dict) -> set[str]:
    return {action for statement in policy["Statement"] for action in statement["Action"]}


def rust_calls() -> set[str]:
    """Actions for which the Rust code has a call of the SDK: `client.put_metric_data()` is cloudwatch:PutMetricData."""
    services = {
        "autoscaling": "autoscaling",
        "cloudwatch": "cloudwatch",
        "secretsmanager": "secretsmanager",
        "ssm": "ssm",
    }
    sources = [
        path
        for folder in ("src", "aws", "cluster", "gateway", "runner")
        for path in (ROOT / folder).rglob("*.rs")
    ]
    found = set()
    for path in sources:
        text = path.read_text()
        for crate, service in services.items():
            if f"aws_sdk_{crate}" not in text:
                continue
            for call in re.findall(r"\.((?:complete|record|describe|put|get)_[a-z_]+)\(\)", text):
                found.add(f"{service}:{''.join(word.capitalize() for word in call.split('_'))}")
        if "object_store" in text and "AmazonS3Builder" in text:
            found |= OBJECT_STORE
    return found


def script_calls() -> set[str]:
    """Actions that the scripts of the machines need."""
    texts = [path.read_text() for path in (ROOT / "terraform/modules").glob("*/files/*")]
    return {
        action
        for command, made in COMMANDS.items()
        if any(command in text for text in texts)
        for action in made
    }


@pytest.mark.parametrize("role", ["gateway", "runner", "collector"])
def test_policy_is_the_list(applied: dict, role: str) -> None:
    wanted = {action for listed_role, action, _ in listed() if listed_role == role}
    allowed = actions(policies(applied["production"])[role])
    # An image in ECR has its own statements, which this app, an archive, doesn't get.
    assert allowed == {action for action in wanted if not action.startswith("ecr:")}


def test_images_have_theirs(stub: object, applied: dict) -> None:
    where = "terraform/environments/production"
    app = {"image": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/team/app:{revision}"}
    stub(
        where, "plan", "-no-color", f"-out={stub.folder}/image-plan", stub.variables(where, app=app)
    )
    plan = json.loads(stub(where, "show", "-json", f"{stub.folder}/image-plan"))
    changed = {c["address"]: c["change"]["after"] for c in plan["resource_changes"]}
    policy = json.loads(
        changed['module.cluster.module.iam.aws_iam_role_policy.this["runner"]']["policy"]
    )
    statement = next(s for s in policy["Statement"] if "ecr:BatchGetImage" in s["Action"])
    assert statement["Resource"] == "arn:aws:ecr:eu-central-1:123456789012:repository/team/app"


@pytest.mark.parametrize(
    "action", sorted({action for _, action, caller in listed() if caller == "rust"})
)
def test_allowed_for_the_program_is_called_by_it(action: str) -> None:
    if action in rust_calls():
        assert action not in PENDING, f"the program calls {action} now: take it out of PENDING"
        return
    if action in PENDING:
        pytest.skip(f"{action}: {PENDING[action]}")
    pytest.fail(f"{action} is allowed for the program, which never calls it")


def test_called_by_the_program_is_allowed() -> None:
    wanted = {action for _, action, caller in listed() if caller == "rust"}
    missing = rust_calls() - wanted - set(NOT_HERE)
    assert not missing, (
        f"the program calls {sorted(missing)}: list and allow it, or say in NOT_HERE why not"
    )


def test_scripts_are_the_list() -> None:
    assert script_calls() == {action for _, action, caller in listed() if caller == "boot"}


@pytest.mark.parametrize("role", ["gateway", "runner", "collector"])
def test_parliament_has_nothing_to_say(applied: dict, role: str) -> None:
    policy = policies(applied["production"])[role]
    analysed = analyze_policy_string(json.dumps(policy))
    # It takes this parameter for one of another form, and has no resources for these two services' newest actions.
    findings = [
        f"{finding.issue} {finding.detail} {finding.location}" for finding in analysed.findings
    ]
    assert not findings, "\n".join(findings)


def test_parliament_would_say_it() -> None:
    wrong = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": ["s3:GetObjekt"], "Resource": "*"}],
    }
    assert [finding.issue for finding in analyze_policy_string(json.dumps(wrong)).findings] == [
        "UNKNOWN_ACTION"
    ]


def test_stars_have_a_reason(applied: dict) -> None:
    """Statements on all resources are those of actions that AWS has no resources for."""
    without_resources = {
        "autoscaling:DescribeAutoScalingInstances",
        "autoscaling:DescribeLifecycleHooks",
        "cloudwatch:PutMetricData",
        "ssmmessages:CreateControlChannel",
        "ssmmessages:CreateDataChannel",
        "ssmmessages:OpenControlChannel",
        "ssmmessages:OpenDataChannel",
        "ecr:GetAuthorizationToken",
    }
    for role, policy in policies(applied["production"]).items():
        for statement in policy["Statement"]:
            if statement["Resource"] == "*":
                assert set(statement["Action"]) <= without_resources, f"{role}: {statement['Sid']}"
