"""The systemd unit, by systemd's own check."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.config import load_settings
from tests.deploy.tools import DEPLOY, program, run
from tests.processes import PROGRAM

UNIT = DEPLOY / "systemd" / "homeport.service"
EXPOSURE = 20
"""Of 100, by `systemd-analyze security`; a unit without hardening has 96."""


def options(unit: Path) -> dict[str, list[str]]:
    """What a unit sets, each key with all its values."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        key, sign, value = line.partition("=")
        if sign and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    """Every option is one, and the service is kept from what it does not need."""
    analyze = program("systemd-analyze", "systemd")
    copy = tmp_path / UNIT.name
    text = UNIT.read_text()
    assert "/opt/homeport/bin/homeport" in text
    copy.write_text(text.replace("/opt/homeport/bin/homeport", str(PROGRAM)))
    checked = run(analyze, "verify", "--man=no", copy)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    secured = run(
        analyze, "security", "--no-pager", "--offline=yes", f"--threshold={EXPOSURE}", copy
    )
    assert secured.returncode == 0, secured.stdout


def test_the_unit_waits_for_the_drain() -> None:
    """G10: systemd kills what has not ended by then, and signals the supervisor only."""
    found = options(UNIT)
    drain_s = load_settings(DEPLOY / "config" / "gateway.toml", {}).drain_s
    assert int(found["TimeoutStopSec"][0]) >= drain_s + 10
    assert found["KillMode"] == ["mixed"]
    assert found["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert int(found["LimitNOFILE"][0]) >= 65_536  # what `homeport doctor` asks for


def test_the_units_user_is_made() -> None:
    """sysusers.d makes the user that the unit runs as, and that the keyring belongs to."""
    lines = (DEPLOY / "systemd" / "homeport.sysusers").read_text().splitlines()
    [user] = [line.split()[1] for line in lines if line.startswith("u ")]
    assert options(UNIT)["User"] == [user]


def test_the_runbook_puts_every_file_where_the_unit_reads_it() -> None:
    """Keyring and certificate belong to the unit's user alone, and are there before it starts."""
    text = (DEPLOY / "RUNBOOK.md").read_text()
    [steps] = re.findall(r"\*\*S\*\*, on each machine:\n\n```sh\n(.*?)```", text, re.DOTALL)
    before, _, _ = steps.partition("systemctl enable --now homeport")
    copies = re.findall(
        r"^install -o homeport -g homeport -m 0600 (\S+) (\S+)$", before, re.MULTILINE
    )
    installed = {Path(to, source) if to.endswith("/") else Path(to) for source, to in copies}
    settings = load_settings(DEPLOY / "config" / "gateway.toml", {})
    assert installed == {settings.key_file, settings.tls_cert, settings.tls_key}
