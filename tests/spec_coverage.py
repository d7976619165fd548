"""Which normative sentences of SPEC.md have a test: ``python -m tests.spec_coverage``.

A sentence is a line of SPEC.md that begins ``- [HP-4.2-3]`` or ``- [G1]``. A test names it in a
docstring or a comment of a ``test_*.py`` file. Names in other strings do not count, so that a text
which a test only handles covers nothing.

Exits with 1 when a sentence has no test, or when a test names a sentence that does not exist.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_ID: Final = r"HP-\d+\.\d+-\d+|G\d+"
_SENTENCE: Final = re.compile(rf"^- \[({_ID})\] (.+)$", re.MULTILINE)
_NAMED: Final = re.compile(rf"(?<![\w-])(?:{_ID})(?!\w)")


@dataclass(frozen=True, slots=True)
class Coverage:
    """What was found. `sentences` is id to text; `tests` is id to the files that name it."""

    sentences: dict[str, str]
    tests: dict[str, set[Path]]

    @property
    def untested(self) -> list[str]:
        """Ids of sentences without a test, in SPEC.md's order."""
        return [each for each in self.sentences if each not in self.tests]

    @property
    def unknown(self) -> list[str]:
        """Ids that a test names and SPEC.md does not have."""
        return sorted(each for each in self.tests if each not in self.sentences)


def sentences(spec: str) -> dict[str, str]:
    """Id to text of every normative sentence.

    Raises:
        ValueError: two sentences have the same id, or one stands in another section than it says.
    """
    found: dict[str, str] = {}
    section = ""
    for line in spec.splitlines():
        if line.startswith("### "):
            section = line.split()[1]
        sentence = _SENTENCE.match(line)
        if sentence is None:
            continue
        number, text = sentence.groups()
        if number in found:
            raise ValueError(f"SPEC.md has two sentences {number}")
        if number.startswith("HP-") and not number.startswith(f"HP-{section}-"):
            raise ValueError(f"SPEC.md has {number} in section {section}")
        found[number] = text
    return found


def named_in(source: str) -> set[str]:
    """Ids in the docstrings and comments of a Python file.

    Raises:
        SyntaxError: the file is not Python.
    """
    return {number for text in _prose(source) for number in _NAMED.findall(text)}


def _prose(source: str) -> Iterator[str]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


def measure(spec: Path, tests: Path) -> Coverage:
    """Hold the sentences of `spec` against the `test_*.py` files under the folder `tests`."""
    naming: dict[str, set[Path]] = {}
    for file in sorted(tests.rglob("test_*.py")):
        for number in named_in(file.read_text()):
            naming.setdefault(number, set()).add(file)
    return Coverage(sentences(spec.read_text()), naming)


def report(coverage: Coverage) -> tuple[str, int]:
    """The text to print, and the exit status."""
    total, untested = len(coverage.sentences), coverage.untested
    lines = [f"{total - len(untested)} of {total} sentences of SPEC.md have a test."]
    lines += [f"no test: {each} {coverage.sentences[each]}" for each in untested]
    for each in coverage.unknown:
        files = ", ".join(str(file) for file in sorted(coverage.tests[each]))
        lines.append(f"no such sentence: {each}, named in {files}")
    return "\n".join(lines) + "\n", int(bool(untested or coverage.unknown))


if __name__ == "__main__":
    root = Path(__file__).parents[1]
    text, status = report(measure(root / "protocol" / "SPEC.md", root / "tests"))
    sys.stdout.write(text)
    sys.exit(status)
