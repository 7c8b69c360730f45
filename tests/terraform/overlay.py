"""What the modules have that AWS provider 3.39.0 doesn't know, and what stands in its place there.

That provider is old, but it's HashiCorp's own, with the checks that a rebuilt schema lacks: ARNs, enumerations, arguments that exclude
each other. Every edit here has to find its place, or the test that applies them fails: so the list can't outlive its reasons.
"""

import re
from pathlib import Path
from typing import NamedTuple

VERSION = "3.39.0"


class Edit(NamedTuple):
    """One replacement in one file below terraform/modules."""

    file: str
    pattern: str
    replacement: str
    reason: str


def block(kind: str) -> str:
    """A pattern for a whole block at the left margin."""
    return rf"(?ms)^{kind} \{{\n.*?^\}}\n"


GROUP = [
    (r"  default_instance_warmup .*\n", "4.19: default_instance_warmup"),
    (r" +max_healthy_percentage .*\n", "5.30: max_healthy_percentage"),
    (r" +skip_matching .*\n", "4.55: skip_matching"),
    (r" +auto_rollback .*\n", "4.67: auto_rollback"),
    (r" +scale_in_protected_instances .*\n", "5.26: scale_in_protected_instances"),
    (r" +standby_instances .*\n", "5.26: standby_instances"),
]

EDITS = [
    Edit("network/main.tf", r'domain = "vpc"', "vpc = true", "5.0: domain instead of vpc"),
    Edit("redis/main.tf", block('resource "aws_elasticache_user" "default"'), "", "3.55: users"),
    Edit("redis/main.tf", block('resource "aws_elasticache_user" "fleet"'), "", "3.55: users"),
    Edit(
        "redis/main.tf",
        block('resource "aws_elasticache_user_group" "this"'),
        "",
        "3.56: groups of users",
    ),
    Edit("redis/main.tf", r"  user_group_ids .*\n", "", "3.56: groups of users"),
    Edit(
        "redis/main.tf",
        r'  description( += "Registry)',
        r"  replication_group_description\1",
        "4.9: description",
    ),
    Edit(
        "redis/main.tf", r"num_cache_clusters ", "number_cache_clusters ", "4.9: num_cache_clusters"
    ),
    Edit("redis/main.tf", r'\? "7\.1" : "8\.0"', '? "6.x" : "6.x"', "4.0: versions above 6"),
    Edit(
        "redis/main.tf",
        r"family      = .*\n",
        'family      = "redis6.x"\n',
        "4.0: versions above 6",
    ),
    Edit("redis/variables.tf", r"  ephemeral   = true\n", "", "no write-only arguments"),
    Edit(
        "redis/tests/redis.tftest.hcl",
        r"num_cache_clusters",
        "number_cache_clusters",
        "4.9: num_cache_clusters",
    ),
    Edit(
        "redis/tests/redis.tftest.hcl",
        r"(?ms)^  assert \{\n    condition +=[^\n]*aws_elasticache_user\.default.*?^  \}\n",
        "",
        "3.55: users",
    ),
    *[Edit("gateway/main.tf", pattern, "", reason) for pattern, reason in GROUP],
    *[Edit("runner/main.tf", pattern, "", reason) for pattern, reason in GROUP],
    Edit(
        "runner/main.tf",
        r'(?ms)^      dynamic "alarm_specification" \{\n.*?^      \}\n',
        "",
        "5.26: alarm_specification",
    ),
    Edit(
        "runner/main.tf",
        r"(?ms)^      instance_reuse_policy \{\n.*?^      \}\n",
        "",
        "4.57: instance_reuse_policy",
    ),
    Edit(
        "runner/main.tf",
        r'"price-capacity-optimized"',
        '"capacity-optimized"',
        "4.41: price-capacity-optimized",
    ),
    Edit(
        "runner/tests/runner.tftest.hcl",
        r" && [^\n]*max_healthy_percentage == 110",
        "",
        "5.30: max_healthy_percentage",
    ),
    Edit(
        "runner/tests/runner.tftest.hcl",
        r"aws_autoscaling_group\.this\.warm_pool\[0\]\.instance_reuse_policy\S+ == false",
        "length(aws_autoscaling_group.this.warm_pool) == 1",
        "4.57: instance_reuse_policy",
    ),
    Edit(
        "observability/collector.tf",
        r"  user_data_replace_on_change .*\n",
        "",
        "4.1: user_data_replace_on_change",
    ),
    Edit(
        "uploads/contents.tf",
        r"(?s)\A.+",
        "",
        "4.0: encryption and life cycle as resources of their own",
    ),
    Edit(
        "uploads/main.tf",
        r'"BucketOwnerEnforced"',
        '"BucketOwnerPreferred"',
        "3.67: BucketOwnerEnforced",
    ),
    Edit(
        "secrets/generated.tf",
        r"(?s)\A.+",
        'locals {\n  cluster_secret  = "stands-in-for-an-ephemeral-value"\n  admin_token     = local.cluster_secret\n'
        "  redis_passwords = { a = local.cluster_secret, b = local.cluster_secret, unused = local.cluster_secret }\n}\n",
        "no ephemeral resources",
    ),
    Edit("secrets/main.tf", r" +secret_string_wo_version .*\n", "", "no write-only arguments"),
    Edit("secrets/main.tf", r"secret_string_wo ", "secret_string ", "no write-only arguments"),
    Edit("secrets/outputs.tf", r"  ephemeral   = true\n", "", "no ephemeral resources"),
    Edit(
        "cluster/main.tf",
        r"data\.aws_region\.here\.region",
        "data.aws_region.here.name",
        "6.0: region instead of name",
    ),
]


def lay(modules: Path) -> None:
    """Makes the edits in a copy of the modules, and has every configuration there ask for the old provider."""
    for edit in EDITS:
        path = modules / edit.file
        text, places = re.subn(edit.pattern, edit.replacement, path.read_text())
        if not places:
            raise AssertionError(
                f"{edit.file} has no {edit.pattern!r} any more ({edit.reason}): take the edit out"
            )
        path.write_text(text)
    for path in modules.parent.rglob("versions.tf"):
        path.write_text(path.read_text().replace('">= 6.0, < 7.0"', f'"{VERSION}"'))
