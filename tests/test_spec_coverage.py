"""The checker of SPEC.md's sentences, on a tiny spec."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.spec_coverage import measure, named_in, report, sentences

ROOT = Path(__file__).parents[1]

TINY = """\
## 1. Guarantees

### 1.1 All

- [G1] Kept.

### 1.2 Talk

- [HP-1.2-1] The server MUST speak.
- [HP-1.2-10] The client MUST listen.

A mention of [HP-1.2-7] in running text is not a sentence, nor is HP-1.2-8.
"""


def _measure(folder: Path, **files: str) -> tuple[str, int]:
    (folder / "SPEC.md").write_text(TINY)
    for name, source in files.items():
        (folder / f"{name}.py").write_text(source)
    return report(measure(folder / "SPEC.md", folder))


def test_only_lines_with_a_number_at_their_start_are_sentences() -> None:
    """Text around them may mention numbers freely."""
    assert sentences(TINY) == {
        "G1": "Kept.",
        "HP-1.2-1": "The server MUST speak.",
        "HP-1.2-10": "The client MUST listen.",
    }


def test_all_covered_is_a_success(tmp_path: Path) -> None:
    """Docstrings of modules, classes, functions and coroutines count, and comments."""
    text, status = _measure(
        tmp_path,
        test_a='"""For G1."""\n# HP-1.2-1, said in a comment\n',
        test_b='class C:\n    async def f(self):\n        """HP-1.2-10: yes."""\n',
    )
    assert (text, status) == ("3 of 3 sentences of SPEC.md have a test.\n", 0)


def test_a_sentence_without_a_test_fails_and_is_listed(tmp_path: Path) -> None:
    """A longer number that begins the same does not cover the shorter one."""
    text, status = _measure(tmp_path, test_a='"""G1, HP-1.2-10."""\n')
    assert status == 1
    assert text.splitlines() == [
        "2 of 3 sentences of SPEC.md have a test.",
        "no test: HP-1.2-1 The server MUST speak.",
    ]


def test_a_test_of_no_sentence_fails_and_names_the_file(tmp_path: Path) -> None:
    """A typing error in a number, or a sentence taken out of SPEC.md."""
    text, status = _measure(tmp_path, test_a='"""G1 HP-1.2-1 HP-1.2-10 HP-1.2-2 G2."""\n')
    file = tmp_path / "test_a.py"
    assert status == 1
    assert text.splitlines()[1:] == [
        f"no such sentence: G2, named in {file}",
        f"no such sentence: HP-1.2-2, named in {file}",
    ]


def test_files_that_are_not_tests_cover_nothing(tmp_path: Path) -> None:
    """A helper that mentions a sentence does not test it."""
    _, status = _measure(tmp_path, helper='"""G1 HP-1.2-1 HP-1.2-10."""\n')
    assert status == 1


def test_strings_code_and_parts_of_words_cover_nothing() -> None:
    """Only prose about the test counts."""
    source = (
        'def f():\n    x = "HP-9.9-1 G9"\n    G8 = x  # not PG7, G6x or XHP-9.9-2\n    return G8\n'
    )
    assert named_in(source) == set()


@pytest.mark.parametrize(
    "line",
    ["- [HP-1.2-1] Again.", "- [G1] Again.", "- [HP-1.3-1] In section 1.2.", "- [HP-1.1-1] So."],
)
def test_a_number_is_used_once_and_in_its_section(line: str) -> None:
    """Else a test could name one sentence and mean another."""
    with pytest.raises(ValueError, match=line[3:].split("]")[0]):
        sentences(TINY + line + "\n")


def test_the_command_measures_this_repository() -> None:
    """It finds SPEC.md's sentences, and no test of ours names one that does not exist."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.spec_coverage"],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
    )
    assert run.stderr == ""
    assert f"of {len(sentences((ROOT / 'protocol/SPEC.md').read_text()))} sentences" in run.stdout
    assert "no such sentence" not in run.stdout
    assert run.returncode == int("no test: " in run.stdout)
