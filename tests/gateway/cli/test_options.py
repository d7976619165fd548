"""Options that are handed to a command as one thing."""

from __future__ import annotations

from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from gateway.cli.options import taking


def _box(
    *,
    width: Annotated[int, typer.Option(min=1)],
    lid: Annotated[bool, typer.Option("--lid")] = False,
) -> tuple[int, bool]:
    if lid and width > 9:
        raise typer.BadParameter("too wide for a lid", param_hint="--lid")
    return width, lid


@taking("box", _box)
def _ship(
    box: tuple[int, bool], to: str, fast: Annotated[bool, typer.Option("--fast")] = False
) -> None:
    """Ship a box."""
    typer.echo(f"{box} {to} {fast}")


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        (["home", "--width", "3"], "(3, False) home False\n"),
        (["--lid", "--width", "9", "--fast", "home"], "(9, True) home True\n"),
    ],
)
def test_a_command_gets_what_is_made_of_its_options(arguments: list[str], output: str) -> None:
    """With the defaults of the function that makes it, beside the command's own parameters."""
    app = typer.Typer()
    app.command()(_ship)
    assert CliRunner().invoke(app, arguments).output == output


@pytest.mark.parametrize("wrong", [[], ["--width", "0"], ["--width", "10", "--lid"]])
def test_a_wrong_option_is_a_wrong_use(wrong: list[str]) -> None:
    """One that is missing, one that is out of its bounds, and two that do not go together."""
    app = typer.Typer()
    app.command()(_ship)
    assert CliRunner().invoke(app, ["home", *wrong]).exit_code == 2


def test_the_help_has_the_commands_own_options_first() -> None:
    """And none for the thing itself."""
    app = typer.Typer()
    app.command()(_ship)
    text = CliRunner().invoke(app, ["--help"]).output
    assert text.index("--fast") < text.index("--width") < text.index("--lid")
    assert "box" not in text.replace("Ship a box", "")
