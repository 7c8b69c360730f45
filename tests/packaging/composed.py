"""Runs what a compose file says without containers: each service on a machine of its own, with the programs that are here in the place of its image's.

The machines are joined by a bridge, as a compose network is. What counts is what the file says: commands, variables, addresses, mounts, health checks.
What is in the images is not looked at, but for the variables and the command that the Dockerfile gives them.
"""

import ipaddress
import json
import os
import re
import shlex
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "infra/compose/compose.yaml"
DOCKERFILE = ROOT / "infra/containers/Dockerfile"
LIMIT = 90


def resolved(**variables):
    """The file as Docker Compose understands it."""
    command = [ROOT / "target/packaging/bin/docker-compose", "-f", COMPOSE, "config"]
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **variables}
    done = subprocess.run(
        [*command, "--format", "json"], capture_output=True, text=True, env=environment
    )
    # Its exit code is 0 even where it has nothing to tell but an error.
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def stage(name):
    """What the Dockerfile says of an image, as pairs of instruction and text."""
    text = re.sub(r"\\\n", " ", DOCKERFILE.read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    pairs = [tuple(line.split(maxsplit=1)) for line in lines]
    first = next(
        index
        for index, pair in enumerate(pairs)
        if pair[0] == "FROM" and pair[1].endswith(f" AS {name}")
    )
    last = next(
        (index for index, pair in enumerate(pairs) if pair[0] == "FROM" and index > first),
        len(pairs),
    )
    return pairs[first + 1 : last]


def image(service):
    """Variables and command that a service has of its image; none, where the image isn't ours."""
    target = service.get("build", {}).get("target")
    said = dict(stage(target)) if target else {}
    pairs = [word.split("=", 1) for word in shlex.split(said.get("ENV", ""))]
    command = service.get("command") or json.loads(said.get("CMD", "[]"))
    return dict(pairs), json.loads(said.get("ENTRYPOINT", "[]")) + command


class Composed:
    """The services, started in the order that the file asks for."""

    def __init__(self, compose, machines, programs, python, volumes, without=()):
        """`programs` is what is to be where, `volumes` the folders that stand for the file's, `without` names services to leave out."""
        self.machines, self.programs, self.python = machines, programs, python
        self.volumes = volumes
        self.services = {
            name: service for name, service in compose["services"].items() if name not in without
        }
        network = compose["networks"]["default"]["ipam"]["config"][0]
        self.length = ipaddress.ip_network(network["subnet"]).prefixlen
        free = ipaddress.ip_network(network["ip_range"]).hosts()
        # By service and number.
        self.addresses = {}
        for name, service in self.services.items():
            fixed = (service["networks"]["default"] or {}).get("ipv4_address")
            for number in range(service.get("deploy", {}).get("replicas", 1)):
                self.addresses[name, number] = fixed or str(next(free))
        self.switch = machines(own_network=True)
        self.switch.run("ip link add bridge type bridge && ip link set bridge up")
        self.running = {}
        for name in self.services:
            self.start(name)

    def start(self, name):
        """Starts a service when what it depends on is well."""
        if any(key[0] == name for key in self.running):
            return
        needed = self.services[name].get("depends_on", {})
        for other in needed:
            self.start(other)
        for other, how in needed.items():
            if how["condition"] == "service_healthy":
                for number in range(self.services[other].get("deploy", {}).get("replicas", 1)):
                    self.wait_until_well(other, number)
        for key, address in self.addresses.items():
            if key[0] == name:
                self.running[key] = self.machine(name, address)

    def machine(self, name, address):
        service = self.services[name]
        machine = self.machines(own_network=True)
        port = f"port{len(self.running)}"
        ends = [port, "type", "veth", "peer", "name", "eth0", "netns", machine.inside]
        self.switch.within("net", "ip", "link", "add", *ends)
        self.switch.run(f"ip link set {port} master bridge up")
        machine.run(f"ip address add {address}/{self.length} dev eth0 && ip link set eth0 up")
        hosts = [f"{found} {key[0]}" for key, found in self.addresses.items()]
        machine.write("/etc/hosts", "127.0.0.1 localhost\n" + "\n".join(hosts) + "\n")
        if "STREAMFLEET_PYTHON" in image(service)[0]:
            machine.open_to_all(self.python)
        machine.run("useradd --system --uid 10001 streamfleet")
        machine.run("install --directory --owner 10001 /var/lib/streamfleet/cache")
        for mount in service.get("volumes", []):
            source = mount["source"] if mount["type"] == "bind" else self.volumes[mount["source"]]
            machine.bind(source, mount["target"])
        for target, source in self.programs.items():
            machine.bind(source, target)
        for target in service.get("tmpfs", []):
            mount = f"mount -t tmpfs -o mode=1777 tmpfs {target}"
            if ROOT.is_relative_to(target):
                # The Python in this checkout is still to be found.
                mount = (
                    f"mkdir /run/checkout && mount --bind {ROOT} /run/checkout && {mount}"
                    f" && mkdir -p {ROOT} && mount --bind /run/checkout {ROOT}"
                )
            machine.run(mount)
        variables, command = image(service)
        variables |= {key: str(value) for key, value in service.get("environment", {}).items()}
        if "STREAMFLEET_PYTHON" in variables:
            variables["STREAMFLEET_PYTHON"] = self.python
        user = {"nginx": "nobody"}.get(service.get("user"), "10001" if "build" in service else None)
        group = {"nobody": "nogroup"}.get(user, "streamfleet")
        as_user = (
            ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"] if user else []
        )
        setting = [f"{key}={value}" for key, value in variables.items()]
        line = shlex.join(["env", "HOME=/tmp", *setting, *as_user, *command])
        # Whoever the program runs as may open its own output, as in a container.
        machine.run("touch /run/log && chmod 666 /run/log")
        if service.get("read_only"):
            machine.run("mount -o remount,ro /")
        machine.run(f"cd /tmp && {{ ({line}; touch /run/ended) >/run/log 2>&1 </dev/null & }}")
        return machine

    def wait_until_well(self, name, number):
        """Asks as the file says, until the answer is yes."""
        test = shlex.join(self.services[name]["healthcheck"]["test"][1:])
        deadline = time.monotonic() + LIMIT
        while (asked := self.running[name, number].enter(test)).returncode != 0:
            ended = [
                key
                for key, of in self.running.items()
                if of.enter("test -e /run/ended").returncode == 0
            ]
            assert not ended, f"{ended} have ended\n{self.logs()}"
            assert time.monotonic() < deadline, f"{name}: {asked.stderr}\n{self.logs()}"
            # As often as the file has it asked; there is nobody who would tell.
            time.sleep(0.2)

    def logs(self):
        """What all services have said."""
        said = {key: machine.enter("cat /run/log").stdout for key, machine in self.running.items()}
        return "\n".join(f"--- {name} {number}\n{text}" for (name, number), text in said.items())
