"""What people read, and what scripts do."""

from __future__ import annotations

import json

import pytest

from gateway.cli.output import show

RECORD = {
    "plain_listen": None,
    "coming": {},
    "check_values": {"1": "ab", "2": "cd"},
    "origins": [],
    "networks": ["10.0.0.0/8", "::1"],
    "muted": True,
    "live": False,
    "count": 0,
}


def test_people_read_no_python(capsys: pytest.CaptureFixture[str]) -> None:
    """There stood `None`, `{}` and quoted maps."""
    show(RECORD, as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "plain listen  not set",
        "coming        none",
        "check values  1: ab, 2: cd",
        "origins       none",
        "networks      10.0.0.0/8, ::1",
        "muted         yes",
        "live          no",
        "count         0",
    ]


def test_scripts_read_json(capsys: pytest.CaptureFixture[str]) -> None:
    """With every type as it is."""
    show(RECORD, as_json=True)
    assert json.loads(capsys.readouterr().out) == RECORD
