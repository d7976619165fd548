"""The documents of deploy/: their links lead somewhere, and the commands in them are commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.apps.settings import SETTINGS
from tests.deploy.test_watching import anchors
from tests.deploy.tools import DEPLOY, run
from tests.processes import PROGRAM

DOCUMENTS = sorted(DEPLOY.glob("*.md"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    """To a file that is there, and to a heading in it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            file = document.parent / path if path else document
            assert file.exists(), target
            assert not anchor or anchor in anchors(file), target


def test_the_runbooks_contents_are_its_sections() -> None:
    """Whoever is called at night finds a section by the list at the top, which has all of them."""
    text = (DEPLOY / "RUNBOOK.md").read_text()
    listed, _, rest = text.partition("\n## ")
    titles = re.findall(r"^## (.*)$", f"\n## {rest}", re.MULTILINE)
    assert re.findall(r"^- \[(.*)\]\(#.*\)$", listed, re.MULTILINE) == titles


def test_the_readme_names_everything_that_is_there() -> None:
    """Each file and folder of deploy/ is in README.md, and nothing else is."""
    text = (DEPLOY / "README.md").read_text()
    cells = "".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| `"))
    named = {name.partition("/")[0] for name in re.findall(r"`([^`]+)`", cells)}
    named |= set(re.findall(r"\]\(([\w.]+)\)", text))
    assert named == {path.name for path in DEPLOY.iterdir()} - {"README.md"}


def test_the_runbooks_table_of_settings_is_the_codes() -> None:
    """Each setting of an app has its row, which says the same as `homeport app set --help`."""
    text = (DEPLOY / "RUNBOOK.md").read_text()
    _, _, rest = text.partition("\n| setting | value | default | meaning |\n|---|---|---|---|\n")
    assert rest.partition("\n\n")[0].splitlines() == [
        f"| `{each.name}` | {each.kind.rule} | "
        f"{f'`{each.default}`' if each.has_default else 'none'} | {each.means} |"
        for each in SETTINGS.values()
    ]


def test_the_runbooks_commands_are_commands() -> None:
    """Every `homeport …` that it says to run is one."""
    text = (DEPLOY / "RUNBOOK.md").read_text()
    code = re.findall(r"```sh\n(.*?)```|`([^`\n]+)`", text, re.DOTALL)
    lines = "\n".join(block or span for block, span in code)
    groups = "keys|app"
    said = set(re.findall(rf"\bhomeport (?:setup )?((?:{groups}) [a-z-]+|[a-z]+)", lines))
    said -= {"deploy", "homeport"}  # objects that are called homeport
    assert {"keys rotate", "app create", "doctor", "drain"} <= said
    for command in sorted(said):
        ran = run(PROGRAM, *command.split(), "--help")
        assert ran.returncode == 0, command
