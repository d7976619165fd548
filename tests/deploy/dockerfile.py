"""The instructions of a Dockerfile, as far as ours goes."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Stage:
    """One build stage: its image, and what is done in it, as (instruction, arguments)."""

    image: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def arguments(self, instruction: str) -> list[str]:
        """The arguments of each step of this name."""
        return [arguments for name, arguments in self.steps if name == instruction]

    def command(self, instruction: str) -> list[str]:
        """The command of the last step of this name, in its JSON form; options come before it."""
        arguments = self.arguments(instruction)[-1]
        command = json.loads(arguments[arguments.index("[") :])
        assert isinstance(command, list)
        return command

    def environment(self) -> dict[str, str]:
        """What ENV sets."""
        words = [word for line in self.arguments("ENV") for word in shlex.split(line)]
        return dict(word.split("=", 1) for word in words)


def stages(path: Path) -> list[Stage]:
    """The stages of a Dockerfile, in their order."""
    found: list[Stage] = []
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        instruction, _, arguments = line.strip().partition(" ")
        if instruction == "FROM":
            found.append(Stage(arguments.split()[0]))
        elif instruction:
            found[-1].steps.append((instruction, arguments.strip()))
    return found
