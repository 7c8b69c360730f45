"""What Terraform says must be what the program, its documentation and infra/ say: ports, times, paths, names, settings."""

import configparser
import re

import pytest
import tomllib
import yaml
from conftest import ROOT, resources

CLUSTER = (ROOT / "docs/cluster.md").read_text()
SETTINGS = (ROOT / "src/settings.rs").read_text()


def known_settings() -> set[str]:
    lists = re.findall(
        r"const \w*NAMES: \[&str; \d+\] = \[(.*?)\];",
        SETTINGS + (ROOT / "src/security.rs").read_text(),
        re.S,
    )
    assert len(lists) > 1, "a list of the settings' names isn't where it was"
    return {name for text in lists for name in re.findall(r'"(\w+)"', text)}


def default_of(setting: str) -> float:
    """A setting's default, in seconds, in the program itself."""
    return float(re.search(rf"^ +{setting}: ([\d.]+),$", SETTINGS, re.M)[1])


def file_of(config: str, path: str) -> str:
    return next(
        file["content"] for file in yaml.safe_load(config)["write_files"] if file["path"] == path
    )


def settings_of(config: str) -> dict:
    return tomllib.loads(file_of(config, "/etc/streamfleet/streamfleet.toml"))


def unit_of(config: str, role: str) -> dict:
    parser = configparser.RawConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read_string(
        file_of(config, f"/etc/systemd/system/streamfleet-{role}.service.d/50-terraform.conf")
    )
    return dict(parser["Service"])


def documented(setting: str, role: str) -> str:
    """A setting's default in the table of docs/cluster.md."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in CLUSTER.splitlines()
        if line.startswith("|")
    ]
    current = ""
    for row in rows:
        current = row[0].strip("`") or current
        if len(row) == 5 and current == setting and role in row[2]:
            return row[3].strip("`")
    raise AssertionError(f"docs/cluster.md has no {setting} for {role}")


@pytest.mark.parametrize("role", ["gateway", "runner"])
def test_the_program_knows_the_settings(cloud_configs: dict, role: str) -> None:
    unknown = set(settings_of(cloud_configs[role])) - known_settings()
    assert not unknown, f"src/settings.rs has no {sorted(unknown)}"


def test_certificates_reach_the_settings(cloud_configs: dict) -> None:
    """Without mTLS plain text has to be allowed; with it, files are named that streamfleet-secrets writes."""
    module = (ROOT / "terraform/modules/boot/main.tf").read_text()
    secrets = (ROOT / "terraform/modules/boot/files/streamfleet-secrets").read_text()
    assert "for part in ca cert key" in secrets
    for part in ("ca", "cert", "key"):
        assert f"peer_{part}_file" in known_settings()
        assert re.search(rf'peer_{part}_file += "\$\{{local\.secrets\}}/{part}\.pem"', module)
    for role in ("gateway", "runner"):
        assert settings_of(cloud_configs[role])["allow_plaintext"] is True
    names = (ROOT / "terraform/certificates").read_text()
    for name in re.findall(
        r"`(\w+\.streamfleet\.internal)`", (ROOT / "docs/security.md").read_text()
    ):
        assert name.replace(name.partition(".")[0], "$role") in names


@pytest.mark.parametrize("role", ["gateway", "runner"])
def test_ports(applied: dict, cloud_configs: dict, role: str) -> None:
    settings = settings_of(cloud_configs[role])
    assert settings["listen"] == documented("listen", role)
    assert settings["admin_listen"] == documented("admin_listen", role)
    assert settings["admin_listen"].startswith("127.0.0.1:"), (
        "operators come by SSM, so it can stay on loopback"
    )
    port = int(settings["listen"].rpartition(":")[2])
    way = {"gateway": "balancer-gateway", "runner": "gateway-runner"}[role]
    rules = resources(applied["production"], "aws_security_group_rule")
    rule = rules[f'module.cluster.module.firewall.aws_security_group_rule.way_in["{way}"]']
    assert (rule["from_port"], rule["to_port"]) == (port, port)


def test_collector_ports(applied: dict, cloud_configs: dict) -> None:
    collector = yaml.safe_load((ROOT / "infra/observability/collector.yaml").read_text())
    port = collector["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"].rpartition(":")[2]
    for role in ("gateway", "runner"):
        assert settings_of(cloud_configs[role])["otlp_endpoint"].endswith(f":{port}")
    assert (
        file_of(cloud_configs["collector"], "/etc/streamfleet-tracing/collector.yaml")
        == (ROOT / "infra/observability/collector.yaml").read_text()
    )


def test_collector_runs_what_infra_runs(cloud_configs: dict) -> None:
    compose = yaml.safe_load((ROOT / "infra/observability/compose.yaml").read_text())["services"]
    readme = (ROOT / "infra/observability/README.md").read_text()
    for service in ("otel-collector", "jaeger"):
        unit = file_of(cloud_configs["collector"], f"/etc/systemd/system/{service}.service")
        assert f"docker.io/{compose[service]['image']} " in unit
    jaeger = file_of(cloud_configs["collector"], "/etc/systemd/system/jaeger.service")
    for option in re.findall(r"--set \S+", readme):
        assert option in jaeger, f"infra/observability/README.md gives Jaeger {option}"


def test_times_of_gateways(applied: dict, cloud_configs: dict) -> None:
    settings, unit = (
        settings_of(cloud_configs["gateway"]),
        unit_of(cloud_configs["gateway"], "gateway"),
    )
    assert (
        settings["shutdown_notice"]
        == default_of("shutdown_notice")
        == float(documented("shutdown_notice", "gateway"))
    )
    assert (
        settings["shutdown_spread"]
        == default_of("shutdown_spread")
        == float(documented("shutdown_spread", "gateway"))
    )
    ends_after = settings["shutdown_notice"] + settings["shutdown_spread"]
    target = resources(applied["production"], "aws_lb_target_group")[
        "module.cluster.module.gateway.aws_lb_target_group.this"
    ]
    health = target["health_check"][0]
    assert health["interval"] * health["unhealthy_threshold"] <= settings["shutdown_notice"]
    assert ends_after < int(unit["TimeoutStopSec"])
    assert ends_after < int(target["deregistration_delay"])
    hooks = resources(applied["production"], "aws_autoscaling_lifecycle_hook")
    assert (
        int(unit["TimeoutStopSec"])
        <= hooks["module.cluster.module.gateway.aws_autoscaling_lifecycle_hook.terminating"][
            "heartbeat_timeout"
        ]
    )


def test_times_of_runners(applied: dict, cloud_configs: dict) -> None:
    settings, unit = (
        settings_of(cloud_configs["runner"]),
        unit_of(cloud_configs["runner"], "runner"),
    )
    assert (
        settings["drain_limit"]
        == default_of("drain_limit")
        == float(documented("drain_limit", "runner"))
    )
    hooks = resources(applied["production"], "aws_autoscaling_lifecycle_hook")
    kept_for = hooks["module.cluster.module.runner.aws_autoscaling_lifecycle_hook.terminating"][
        "heartbeat_timeout"
    ]
    assert settings["drain_limit"] < int(unit["TimeoutStopSec"]) < kept_for


def test_hooks_are_the_programs(applied: dict, cloud_configs: dict) -> None:
    """The program completes hooks of this prefix and no others, and only where it is told to."""
    source = (ROOT / "aws/src/lifecycle.rs").read_text()
    prefix = re.search(r'HOOK_PREFIX: &str = "(.+?)";', source)[1]
    hooks = resources(applied["production"], "aws_autoscaling_lifecycle_hook")
    assert len(hooks) == 4
    for values in hooks.values():
        assert values["name"].startswith(prefix)
        assert f'"{values["lifecycle_transition"]}"' in (ROOT / "aws/src/group.rs").read_text()
    for role in ("gateway", "runner"):
        assert settings_of(cloud_configs[role])["aws_lifecycle"] == "on"
    # Gateways have no right to it.
    assert settings_of(cloud_configs["runner"])["aws_metrics"] == "on"
    assert "aws_metrics" not in settings_of(cloud_configs["gateway"])


def test_health_check_is_what_gateways_answer(applied: dict) -> None:
    target = resources(applied["production"], "aws_lb_target_group")[
        "module.cluster.module.gateway.aws_lb_target_group.this"
    ]
    path = target["health_check"][0]["path"]
    assert f'ends_with("{path}")' in (ROOT / "gateway/src/server.rs").read_text()
    assert target["stickiness"][0]["enabled"] is False


def test_load_balancer_is_as_infra_says(applied: dict) -> None:
    readme = (ROOT / "infra/load-balancers/README.md").read_text()
    balancer = resources(applied["production"], "aws_lb")[
        "module.cluster.module.gateway.aws_lb.this"
    ]
    assert f"timeout {balancer['idle_timeout']} s" in readme.replace("\n", " ")
    target = resources(applied["production"], "aws_lb_target_group")[
        "module.cluster.module.gateway.aws_lb_target_group.this"
    ]
    assert f"`{target['load_balancing_algorithm_type']}`" in readme


def test_redis_rights_are_those_of_the_docs(applied: dict) -> None:
    text = re.search(r"ACL SETUSER fleet on >PASSWORD (.*?)```", CLUSTER, re.S)[1].split()
    users = resources(applied["production"], "aws_elasticache_user")
    for user in "ab":
        given = users[f'module.cluster.module.redis.aws_elasticache_user.fleet["{user}"]'][
            "access_string"
        ].split()
        # "resetchannels" resets: it has to come before the channels that are allowed.
        assert given[:2] == ["on", "resetchannels"]
        assert sorted(given[1:]) == sorted(text)


def test_secrets_reach_the_settings(applied: dict, cloud_configs: dict) -> None:
    names = {
        values["name"]
        for values in resources(applied["production"], "aws_secretsmanager_secret").values()
    }
    for role in ("gateway", "runner"):
        env = dict(
            line.split("=", 1)
            for line in file_of(cloud_configs[role], "/etc/streamfleet/boot.env").splitlines()
        )
        entries = dict(entry.split("=") for entry in env["SECRETS"].strip("'").split())
        assert set(entries.values()) <= names
        settings = settings_of(cloud_configs[role])
        files = {kind for kind in entries if kind != "redis"}
        assert {settings[f"{kind.replace('-', '_')}_file"] for kind in files} == {
            f"/etc/streamfleet/secrets/{kind}" for kind in files
        }
        assert (
            unit_of(cloud_configs[role], role)["EnvironmentFile"]
            == "/etc/streamfleet/secrets/environment"
        )


def test_commands_are_the_programs(cloud_configs: dict) -> None:
    cli = (ROOT / "src/cli.rs").read_text()
    for role in ("gateway", "runner"):
        program, subcommand, *arguments = unit_of(cloud_configs[role], role)["ExecStart"].split()
        assert program == "/usr/bin/streamfleet"
        assert re.search(rf"^    {subcommand.capitalize()}\(", cli, re.M)
        assert "--config" in arguments
        assert "pub(crate) config: Option<PathBuf>" in cli


@pytest.mark.parametrize("role", ["gateway", "runner"])
def test_units_are_those_of_infra(cloud_configs: dict, role: str) -> None:
    unit = ROOT / f"infra/systemd/streamfleet-{role}.service"
    if not unit.exists():
        pytest.skip(f"infra/systemd has no {unit.name} yet")
    assert "/usr/bin/streamfleet" in unit.read_text()
    assert file_of(cloud_configs[role], f"/etc/systemd/system/{unit.name}.d/50-terraform.conf")


def test_groups_listen_to_what_is_published(applied: dict) -> None:
    """The names of the load figures, which the program has to publish under."""
    policies = resources(applied["production"], "aws_autoscaling_policy")
    wanted = {"sessions": "SessionsPerRunner", "queue": "QueueWait"}
    for policy, metric in wanted.items():
        values = policies[f"module.cluster.module.runner.aws_autoscaling_policy.{policy}"][
            "target_tracking_configuration"
        ][0]
        specification = values["customized_metric_specification"][0]
        assert (specification["namespace"], specification["metric_name"]) == ("Streamfleet", metric)
    sources = "".join(
        path.read_text()
        for folder in ("src", "aws/src", "runner/src", "cluster/src")
        for path in (ROOT / folder).rglob("*.rs")
    )
    assert "put_metric_data" in sources
    for word in ('"Streamfleet"', *(f'"{metric}"' for metric in wanted.values()), '"Cluster"'):
        assert word in sources, f"the program publishes nothing called {word}"
