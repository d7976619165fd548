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
        return self._pairs("ENV")

    def labels(self) -> dict[str, str]:
        """What LABEL sets."""
        return self._pairs("LABEL")

    def defaults(self) -> dict[str, str]:
        """The arguments of the build, each with what it is where nobody gives it."""
        return self._pairs("ARG")

    def _pairs(self, instruction: str) -> dict[str, str]:
        words = [word for line in self.arguments(instruction) for word in shlex.split(line)]
        return dict(word.split("=", 1) for word in words)


def stages(path: Path) -> list[Stage]:
    """The stages of a Dockerfile, in their order."""
    found: list[Stage] = []
    asked: dict[str, str] = {}  # arguments that images are named by, as they are by default
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        instruction, _, arguments = line.strip().partition(" ")
        if instruction == "FROM":
            image = arguments.split()[0]
            found.append(Stage(asked[image[1:]] if image.startswith("$") else image))
        elif instruction and not found:
            assert instruction == "ARG", line
            name, _, default = arguments.partition("=")
            asked[name] = default
        elif instruction:
            found[-1].steps.append((instruction, arguments.strip()))
    return found
