"""The documents name what there is. `make docs` checks their links, `test_readme` runs commands."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway.apps.app import create_app
from gateway.security import tokens

ROOT = Path(__file__).parent.parent
_FOUND = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "bench").rglob("*.md"),
    *(ROOT / "deploy").glob("*.md"),
]
SOURCES = ("bench", "deploy", "docs", "gateway", "protocol", "tests")
# The change log names what was there then; Node.js packages have README files of their own.
DOCUMENTS = sorted(
    path for path in _FOUND if path.name != "CHANGELOG.md" and "node_modules" not in path.parts
)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_source_files_that_a_document_names_are_there(document: Path) -> None:
    """A file that moved took its old name along in the documents, where nobody looked for it."""
    text = re.sub(r"^ *```.*?^ *```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    for name in re.findall(r"`([\w.\-]+/[\w./\-]*)`", text):
        if name.split("/")[0] in SOURCES and "…" not in name and "/x/" not in name:
            assert (ROOT / name).exists(), name


def test_the_how_tos_program_makes_a_token_that_a_gateway_accepts(tmp_path: Path) -> None:
    """G8: what a back end copies from docs/howto/tokens.md, with an app's id and certificate."""
    text = (ROOT / "docs" / "howto" / "tokens.md").read_text()
    (program,) = re.findall(r"^   ```python\n(.*?)^   ```$", text, re.MULTILINE | re.DOTALL)
    script = tmp_path / "make_token.py"
    script.write_text(re.sub(r"^   ", "", program, flags=re.MULTILINE))
    now = time.time()
    app = create_app(
        name="My app", region="sg", tier="pro", account="global", now_ms=int(now * 1000)
    )
    ran = subprocess.run(
        [sys.executable, str(script), app.id, app.certificates[0], "sg", "bob"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    identity = tokens.verify(ran.stdout.strip(), app, now + 1)
    assert identity.user == "bob"
    assert identity.expires_s - identity.issued_s == 3600
