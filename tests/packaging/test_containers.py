"""The container files: what hadolint and Docker Compose say of them, whether their numbers are the program's, and the whole cluster without containers."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from composed import DOCKERFILE, Composed, resolved, stage
from conftest import BINARY
from visitor import APP

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / "target/packaging/bin"
PYTHON = os.environ.get("STREAMFLEET_TEST_PYTHON", str(ROOT / "target/test-env/py/bin/python"))
SECRET = {"STREAMFLEET_SECRET": "s" * 32, "STREAMFLEET_ADMIN_TOKEN": "t" * 32}
ROLES = ("gateway", "runner")


def seconds(text):
    """What Compose writes as 2m30s."""
    parts = re.findall(r"(\d+)([ms])", text)
    return sum(int(number) * {"m": 60, "s": 1}[unit] for number, unit in parts)


def unit_setting(role, name):
    unit = ROOT / f"infra/systemd/streamfleet-{role}.service"
    return re.findall(rf"^{name}=(.*)$", unit.read_text(), re.MULTILINE)[-1]


def pinned(path):
    """Versions in a file of Python requirements."""
    return dict(re.findall(r"^([\w-]+)==(\S+)$", path.read_text(), re.MULTILINE))


def hadolint(path):
    return subprocess.run([TOOLS / "hadolint", "--no-color", path], capture_output=True, text=True)


def test_hadolint_has_nothing_to_say(tmp_path):
    said = hadolint(DOCKERFILE)
    assert (said.returncode, said.stdout) == (0, "")
    readme = (DOCKERFILE.parent / "README.md").read_text()
    example = tmp_path / "Dockerfile"
    example.write_text(re.search(r"```dockerfile\n(.*?)```", readme, re.DOTALL)[1])
    complaints = [line for line in hadolint(example).stdout.splitlines() if "DL3006" not in line]
    # An image that is built here has no tag to pin.
    assert complaints == []


@pytest.mark.parametrize("role", ROLES)
def test_images_have_a_user_a_health_check_and_the_ports(role):
    said = {}
    for instruction, text in stage(role):
        said.setdefault(instruction, []).append(text)
    assert said["USER"][-1] == "10001"
    assert said["STOPSIGNAL"] == ["SIGTERM"]
    rows = (ROOT / "docs/cluster.md").read_text()
    listen = re.search(rf"\| `listen` .*?\| {role} \| `[\d.]+:(\d+)`", rows, re.DOTALL)[1]
    admin = re.search(rf"\| `admin_listen` .*?\| {role} \| `[\d.]+:(\d+)`", rows, re.DOTALL)[1]
    assert said["EXPOSE"] == [f"{listen} {admin}"]
    check = said["HEALTHCHECK"][0]
    assert check.endswith(f'CMD ["healthy", "{admin}", "/livez"]')


def test_versions_are_those_that_are_tested():
    text = DOCKERFILE.read_text()
    rust = re.search(r"^ARG RUST_VERSION=(\S+)$", text, re.MULTILINE)[1].split(".")
    oldest = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]
    assert [int(part) for part in rust] >= [int(p) for p in oldest["rust-version"].split(".")]
    lock = pinned(ROOT / "tests/requirements.lock")
    packages = re.search(r"--constraint /tmp/requirements.lock (.*)$", text, re.MULTILINE)[1]
    assert set(packages.split()) <= lock.keys()
    assert pinned(ROOT / "infra/packer/requirements.txt").items() <= lock.items()


def test_all_that_the_build_needs_is_sent_to_it(tmp_path):
    """What the ignore file lets through is enough for cargo to find every member, its targets and the files that they include."""
    kept = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text()
    paths = [line[1:] for line in kept.splitlines() if line.startswith("!")]
    for path in paths:
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / path).is_dir():
            shutil.copytree(ROOT / path, target)
        else:
            shutil.copy(ROOT / path, target)
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--no-deps"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    binaries = [
        target["name"]
        for package in json.loads(found.stdout)["packages"]
        for target in package["targets"]
        if "bin" in target["kind"]
    ]
    assert "streamfleet" in binaries
    copied = re.findall(r"^COPY (?:--chmod=\d+ )?(infra\S+|tests\S+)", DOCKERFILE.read_text(), re.M)
    copied += re.findall(r"type=bind,source=([^,]+)", DOCKERFILE.read_text())
    assert len(copied) == 3
    for path in copied:
        assert (tmp_path / path).exists(), path
    pattern = re.compile(r'include_(?:str|bytes)!\("([^"]+)"\)')
    for source in tmp_path.glob("*/src/**/*.rs"):
        for included in pattern.findall(source.read_text()):
            assert (source.parent / included).exists(), f"{source}: {included}"


def test_compose_asks_for_what_must_not_be_guessed():
    for name in SECRET:
        others = {key: value for key, value in SECRET.items() if key != name}
        with pytest.raises(AssertionError, match=f"required variable {name}"):
            resolved(**others)


def test_compose_fits_the_rest():
    compose = resolved(**SECRET)
    services = compose["services"]
    assert services["runner"]["deploy"]["replicas"] == 3
    known = (ROOT / "src/settings.rs").read_text() + (ROOT / "src/security.rs").read_text()
    for name, service in services.items():
        for variable in service.get("environment", {}):
            setting = variable.removeprefix("STREAMFLEET_")
            assert setting == variable or f'"{setting.lower()}"' in known, f"{name}: {variable}"
        for port in service.get("ports", []):
            assert port["host_ip"] == "127.0.0.1", f"{name} is open to the world"
    for role, name in [("gateway", "gateway-1"), ("gateway", "gateway-2"), ("runner", "runner")]:
        service = services[name]
        assert seconds(service["stop_grace_period"]) == int(unit_setting(role, "TimeoutStopSec"))
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["build"]["target"] == role
        assert (ROOT / service["build"]["dockerfile"]).samefile(DOCKERFILE)
    gateway, nginx = services["gateway-1"], services["nginx"]
    assert (
        gateway["environment"]["STREAMFLEET_TRUSTED_PROXIES"]
        == nginx["networks"]["default"]["ipv4_address"]
    )
    observability = (ROOT / "infra/observability/compose.yaml").read_text()
    assert f"image: {services['jaeger']['image']}" in observability
    assert "{session}" in gateway["environment"]["STREAMFLEET_TRACES_URL"]


def test_health_checks_tell_well_from_unwell(tmp_path):
    """Against a server that answers what it is asked for."""
    server = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(self.path[1:])); self.end_headers()
    def log_message(self, *_): pass
with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
    print(server.server_port, flush=True)
    server.serve_forever()
"""
    healthy = DOCKERFILE.parent / "healthy"
    with subprocess.Popen([sys.executable, "-c", server], stdout=subprocess.PIPE) as process:
        port = process.stdout.readline().decode().strip()
        for path, code in {"/200": 0, "/503": 1, "/404": 1}.items():
            assert subprocess.run([healthy, port, path], capture_output=True).returncode == code
        process.kill()
    assert subprocess.run([healthy, port, "/200"], capture_output=True).returncode == 1


def test_the_whole_cluster(machines, tmp_path):
    app, uploads = tmp_path / "app", tmp_path / "uploads"
    for folder in (app, uploads):
        folder.mkdir()
    uploads.chmod(0o777)
    (app / "app.py").write_text(APP)
    compose = resolved(**SECRET, APP=str(app), WORKERS="1")
    programs = {
        "/usr/local/bin/streamfleet": BINARY,
        "/usr/local/bin/healthy": DOCKERFILE.parent / "healthy",
    }
    # There is no Jaeger that could be started here.
    volumes = {"uploads": uploads}
    cluster = Composed(compose, machines, programs, PYTHON, volumes, without=["jaeger"])
    for number in range(3):
        cluster.wait_until_well("runner", number)
    gateway = cluster.running["gateway-1", 0]
    asked = "STREAMFLEET_ALLOW_PLAINTEXT=true streamfleet status --json --redis redis://redis:6379"
    assert json.loads(gateway.run(asked))["totals"]["ready"] == 3

    visit = """
from visitor import Visitor
visitor = Visitor("172.28.86.10:8080")
visitor.count("count=1;")
print("counted", flush=True)
visitor.wait_until_sent_away()
visitor.open("count=1;")
visitor.count("count=2;")
print("counted on", flush=True)
"""
    entered = ["nsenter", "--target", cluster.running["nginx", 0].inside, "--net"]
    process = subprocess.Popen(
        [*entered, PYTHON, "-c", visit],
        cwd=Path(__file__).parent,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process as visitor:
        assert visitor.stdout.readline() == "counted\n"
        # The one that has the browser is told to end. Both have idle connections from nginx, so it is asked for.
        token = SECRET["STREAMFLEET_ADMIN_TOKEN"]
        asked = f"curl --silent --header 'Authorization: Bearer {token}' localhost:8502/metrics"
        gateways = [cluster.running[name, 0] for name in ("gateway-1", "gateway-2")]
        serving = [of for of in gateways if "_websockets 1\n" in of.run(asked)]
        assert len(serving) == 1
        serving[0].run("kill -TERM $(pidof streamfleet)")
        assert visitor.stdout.readline() == "counted on\n"
    assert process.returncode == 0
