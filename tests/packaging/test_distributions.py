"""What is in the two distributions, and what they say of themselves."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import homeport
import pytest
import yaml
from packaging.requirements import Requirement

import gateway

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")


@pytest.mark.parametrize(
    ("name", "package", "folder", "version", "kinds", "more"),
    [
        ("homeport", "homeport", "protocol/homeport", homeport.__version__, {".py"}, "py.typed"),
        (
            *("homeport-gateway", "gateway", "gateway", gateway.__version__),
            {".py", ".lua"},
            "entry_points.txt",
        ),
    ],
)
def test_a_wheel_holds_the_package_the_licence_and_nothing_else(
    tmp_path: Path, name: str, package: str, folder: str, version: str, kinds: set[str], more: str
) -> None:
    """It is made from the source distribution, which once held a link instead of the licence."""
    ran = subprocess.run(
        [UV, "build", "--quiet", "--package", name, "--out-dir", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    source = ROOT / folder
    expected = {
        f"{package}/{path.relative_to(source)}"
        for path in source.rglob("*")
        if path.suffix in kinds
    }
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
        info = next(each for each in names if each.endswith("METADATA")).removesuffix("METADATA")
        said = message_from_bytes(wheel.read(f"{info}METADATA"))
        assert wheel.read(f"{info}licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    expected |= {f"{info}{each}" for each in ("METADATA", "WHEEL", "RECORD", "licenses/LICENSE")}
    expected.add(f"{package}/{more}" if more == "py.typed" else f"{info}{more}")
    assert names == expected
    assert said["Version"] == version
    assert ("Typing :: Typed" in said.get_all("Classifier", [])) is (more == "py.typed")
    for each in map(Requirement, said.get_all("Requires-Dist", [])):
        if each.name == "homeport":
            assert homeport.__version__ in each.specifier


@pytest.mark.parametrize("folder", ["gateway", "protocol"])
def test_the_licence_is_a_file(folder: str) -> None:
    """A link is text on a Windows checkout, and leads nowhere in a source distribution."""
    licence = ROOT / folder / "LICENSE"
    assert not licence.is_symlink()
    assert licence.read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_the_chart_installs_this_version() -> None:
    """The chart's default image is the gateway of its own release."""
    chart = yaml.safe_load((ROOT / "deploy/helm/homeport/Chart.yaml").read_text())
    assert chart["appVersion"] == gateway.__version__
