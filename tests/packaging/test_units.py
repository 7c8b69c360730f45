"""The systemd units: what systemd itself says of them, and whether their numbers are the program's."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNITS = sorted((ROOT / "infra/systemd").glob("*.service"))
# What systemd-analyze calls exposure, from 0 to 10; "OK" ends at 4.
MOST_EXPOSED = 2.0


def setting(unit, name):
    return re.findall(rf"^{name}=(.*)$", unit.read_text(), re.MULTILINE)[-1]


def default(name):
    """A setting's default, in seconds, as the program has it."""
    text = (ROOT / "src/settings.rs").read_text()
    return float(re.search(rf"^ +{name}: ([\d.]+),$", text, re.MULTILINE)[1])


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_has_nothing_to_say(unit, tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.fail("systemd-analyze is missing: apt-get install systemd")
    # It looks for the program.
    text = unit.read_text().replace("/usr/bin/streamfleet", "/bin/true")
    copy = tmp_path / unit.name
    copy.write_text(text)
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", copy], capture_output=True, text=True
    )
    assert (verified.returncode, verified.stderr.strip()) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_little_is_exposed(unit):
    report = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", unit], capture_output=True, text=True
    ).stdout
    exposure = float(re.search(r"Overall exposure level for \S+: ([\d.]+)", report)[1])
    assert exposure <= MOST_EXPOSED, report


def test_there_is_time_to_end():
    gateway, runner = UNITS
    assert float(setting(runner, "TimeoutStopSec")) == default("drain_limit") + 30
    ending = default("shutdown_notice") + default("shutdown_spread") + 30
    assert ending <= float(setting(gateway, "TimeoutStopSec")) <= ending + 10


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_the_example_settings_are_the_ones_it_reads(unit):
    assert "--config /etc/streamfleet/streamfleet.toml" in setting(unit, "ExecStart")
    assert setting(unit, "User") == "streamfleet"
    assert setting(unit, "Type") == "notify"


def test_all_settings_in_the_example_exist():
    text = (ROOT / "infra/debian/streamfleet.toml").read_text()
    named = re.findall(r"^(?:# )?(\w+) = ", text, re.MULTILINE)
    known = (ROOT / "src/settings.rs").read_text() + (ROOT / "src/security.rs").read_text()
    unknown = [name for name in named if f'"{name}"' not in known]
    assert not unknown
    assert len(named) > 15
