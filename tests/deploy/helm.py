"""Helm, from Python: the chart is linted and rendered by Helm's own code.

helm-python-sdk brings it as a library, which lives in an environment and a process of its own. The
environment is made once, in .cache/ of the source tree. Run as a program, this is what happens in
it: a JSON list of calls on stdin, a JSON list of their answers on stdout.
"""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

VERSION: Final = "0.2.2"
CHART: Final = Path(__file__).parent.parent.parent / "deploy" / "helm" / "homeport"
INSTALL_S: Final = 120.0
CALLS_S: Final = 60.0

NAMESPACE: Final = "chat"
"""That of each release."""

KUBERNETES: Final = "v1.29.0"
"""The oldest that the chart says it is for."""


def python(cache: Path) -> Path:
    """The Python of the environment that has Helm, made where it is missing.

    Raises:
        RuntimeError: it can't be installed; the text is that of uv.
    """
    folder = cache / f"helm-{VERSION}"
    there = folder / "bin" / "python"
    cache.mkdir(exist_ok=True)
    with (cache / f"helm-{VERSION}.lock").open("w") as lock:  # tests run side by side
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder / "complete"
        if not done.exists():
            uv = Path(sys.executable).with_name("uv")
            make: list[str | Path] = [uv, "venv", "--quiet", "--clear", "--python", sys.executable]
            fill: list[str | Path] = [uv, "pip", "install", "--quiet", "--python", there]
            for command in ([*make, folder], [*fill, f"helm-python-sdk=={VERSION}"]):
                ran = subprocess.run(
                    command, capture_output=True, text=True, timeout=INSTALL_S, check=False
                )
                if ran.returncode != 0:
                    raise RuntimeError(ran.stderr)
            done.touch()
    return there


def call(where: Path, calls: list[dict[str, Any]]) -> list[Any]:
    """Have each of `calls` done: {"do": "lint" | "render", "values": …, "name": …, "cluster": …}.

    A call with the URL of a `cluster` is rendered as `helm upgrade` does it: the chart's `lookup`
    asks that cluster's API server.

    Answers: of lint, its messages; of render, the manifests by template; or {"refused": text}.
    """
    ran = subprocess.run(
        [where, __file__],
        input=json.dumps(calls),
        capture_output=True,
        text=True,
        timeout=CALLS_S,
        check=True,
    )
    answers = json.loads(ran.stdout)
    assert isinstance(answers, list)
    return answers


def _answer(asked: dict[str, Any]) -> Any:
    import helm_python as helm  # type: ignore[import-not-found]

    try:
        if asked["do"] == "lint":
            found = helm.lint(CHART, asked["values"], strict=True, kube_version=KUBERNETES)
            return [text["error"] for text in found["messages"] if text["severity"] > 1]
        with helm.Chart.load(CHART) as chart:
            release = {"name": asked["name"], "namespace": NAMESPACE}
            if "cluster" not in asked:
                return chart.render(asked["values"], **release)
            with helm.Config(kube_apiserver=asked["cluster"], namespace=NAMESPACE) as config:
                return config.render(chart, asked["values"], is_upgrade=True, **release)
    except (helm.HelmValuesError, helm.HelmRenderError) as error:
        return {"refused": str(error)}


if __name__ == "__main__":
    json.dump([_answer(asked) for asked in json.load(sys.stdin)], sys.stdout)
