"""The machine image: Packer's template as far as it can be read without Packer, and what its script makes of a machine."""

import json
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKER = ROOT / "infra/packer"
# Stands in for apt-get: installs packages that are files, and takes all others for installed.
APT = r"""#!/bin/sh
echo "$*" >>/var/log/apt-get
for word; do case $word in /*.deb) exec dpkg --install "$word" ;; esac; done
"""


def blocks(template, kind):
    """The blocks of a kind, by their labels."""
    found = {}
    for block in template[kind]:
        path = []
        while len(keys := block.keys() - {"__is_block__"}) == 1 and isinstance(
            block[key := next(iter(keys))], dict
        ):
            path.append(key.strip('"'))
            block = block[key]
        found[".".join(path)] = block
    return found


def test_the_template_can_be_read_and_names_what_is_there():
    command = [ROOT / "target/packaging/bin/hcl2tojson", PACKER / "streamfleet.pkr.hcl"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    template = json.loads(text)
    variables = blocks(template, "variable")
    used = set(re.findall(r"var\.(\w+)", text))
    assert used == variables.keys()
    assert {name for name, block in variables.items() if "default" not in block} == {
        "region",
        "package",
    }
    sources = blocks(template, "source")
    (build,) = template["build"]
    assert [source.strip('"') for source in build["sources"]] == [f"source.{n}" for n in sources]
    (source,) = sources.values()
    assert source["metadata_options"][0]["http_tokens"] == '"required"'
    for name in re.findall(r"path\.root}/([\w.]+)", text):
        assert (PACKER / name).exists(), name
    # What is put there is what the script is told of.
    uploads = re.findall(r'"destination": "\\"(\S+)\\""', text)
    assert re.search(r"sudo bash {{ .Path }} (\S+) (\S+)\\\"", text).groups() == tuple(uploads)


def test_what_machines_ask_for_is_there():
    """All that terraform/modules/boot installs on a machine, the image has."""
    boot = (ROOT / "terraform/modules/boot/main.tf").read_text()
    asked = re.search(r"packages = concat\(\n(.*?)\n\s*try", boot, re.DOTALL)[1]
    has = re.search(r"no-install-recommends ((?:[\w-]+ )+)</dev", (PACKER / "install").read_text())[
        1
    ]
    assert set(re.findall(r'"([\w-]+)"', asked)) == set(has.split())


def test_the_script_leaves_nothing_that_machines_must_not_share(package, machines):
    machine = machines(own_network=True)
    machine.write("/usr/local/sbin/apt-get", APT)
    machine.run("chmod 755 /usr/local/sbin/apt-get")
    machine.run(
        "mkdir -p /etc/ssh && touch /etc/ssh/ssh_host_ed25519_key && echo 1 >/etc/machine-id"
    )
    machine.write("/install", (PACKER / "install").read_text())
    machine.run(f"cp {package('1.0.0')} /streamfleet.deb")
    # Without packages, as there is no registry: what is looked at is where they go.
    machine.write("/requirements.txt", "# nothing\n")
    machine.run("bash /install /streamfleet.deb /requirements.txt")

    gone = [
        "/etc/streamfleet/secrets/admin-token",
        "/etc/ssh/ssh_host_ed25519_key",
        "/usr/sbin/policy-rc.d",
        "/streamfleet.deb",
        "/requirements.txt",
    ]
    for path in gone:
        assert machine.enter(f"test -e {path}").returncode != 0, path
    assert machine.run("cat /etc/machine-id") == ""
    asked = machine.run("cat /run/systemctl/asked").split()
    assert asked == ["daemon-reload"], "no role was started"
    unit = machine.run("cat /etc/systemd/system/streamfleet-runner.service.d/20-image.conf")
    python = re.search(r"^Environment=STREAMFLEET_PYTHON=(\S+)$", unit, re.MULTILINE)[1]
    as_user = "setpriv --reuid=streamfleet --regid=streamfleet --clear-groups"
    machine.open_to_all(machine.run("readlink -f /usr/bin/python3").strip())
    said = machine.run(f"{as_user} {python}/bin/python -c 'import sys; print(sys.prefix)'")
    assert said == f"{python}\n"

    # A machine of it gets a token of its own.
    machine.run("dpkg-reconfigure streamfleet")
    assert machine.run("wc -c </etc/streamfleet/secrets/admin-token") == "64\n"
