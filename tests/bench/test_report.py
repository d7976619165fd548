"""The page: everything that was found is on it, and it needs nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from bench import readme, result
from bench.options import BenchError
from bench.report import page
from bench.targets import judged
from tests.bench.results import make_result


def rows(html: str) -> dict[str, list[str]]:
    """The cells of each table's rows by their name."""
    found = re.findall(r"<tr><td>(.*?)</td>(.*?)</tr>", html)
    return {name: re.findall(r"<td>(.*?)</td>", cells) for name, cells in found}


def test_results_survive_their_file(tmp_path: Path) -> None:
    """What is written is read again."""
    results = [make_result(), make_result("chat")]
    result.save(tmp_path / "a.json", results)
    loaded = result.load(tmp_path / "a.json")
    assert msgspec.json.encode(loaded) == msgspec.json.encode(results)


@pytest.mark.parametrize("text", ["", "{}", '{"results": [], "format": 99}'])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    """With its name."""
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(BenchError, match=r"a\.json"):
        result.load(tmp_path / "a.json")
    with pytest.raises(BenchError, match=r"none\.json"):
        result.load(tmp_path / "none.json")


def test_one_file_is_a_table_and_plots() -> None:
    """Figures, percentiles, counts, warnings; two plots, and no memory without connections."""
    html = page([make_result()])
    table = rows(html)
    assert table["gateway us per delivery"] == ["9.500"]
    assert table["delivery p99, ms"] == ["7.003"]
    assert table["lost"] == ["0"]
    assert table["closed: 4003"] == ["2"]
    assert "THE MACHINE WAS FULL" in html
    drawings = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(drawings) == 2
    for drawing in drawings:
        ElementTree.fromstring(drawing)


def test_two_files_are_compared() -> None:
    """Side by side where labels agree, with the difference; what is only in one is shown alone."""
    html = page([make_result(), make_result("a alone")], [make_result(cost=4.75), make_result("b")])
    assert rows(html)["gateway us per delivery"] in (["9.500", "4.750", "-50.0%"], ["9.500"])
    assert "<td>9.500</td><td>4.750</td><td>-50.0%</td>" in html
    assert re.findall(r"<h2>(.*?)</h2>", html) == ["fanout", "a alone", "b"]


def test_the_page_needs_nothing_else() -> None:
    """No script, no address to fetch from; a name can't break it."""
    html = page([make_result("<b>&")])
    assert "<b>&" not in html
    assert "<script" not in html
    fetched = re.findall(r"(?:src|href)=[\"'](?!#)([^\"']*)", html)
    assert fetched == []


def test_memory_is_drawn_by_connections() -> None:
    """Where connections were opened while it was watched."""
    opened = make_result("conn")
    opened.series = [
        type(one)(**{**{f: getattr(one, f) for f in one.__struct_fields__}, "connected": number})
        for number, one in enumerate(opened.series)
    ]
    assert len(re.findall(r"<svg", page([opened]))) == 3


def test_targets_are_judged_by_what_was_found() -> None:
    """One that is met, one that is missed; what was not measured is not judged."""
    fanout = make_result()
    burst = make_result("fanout, burst", cost=4.75)
    told = {target.name: (value, target.met(value)) for target, value in judged([fanout, burst])}
    assert told == {
        "room of 1,000, 50 msg/s: CPU to a bare send() loop": (1.2, True),
        "room of 100, 500 msg/s: CPU per delivery to the first": (0.5, False),
    }


def test_the_readme_gets_tables_and_plots() -> None:
    """What `bench.readme` writes: targets, peers, and pictures that are pictures."""
    result = make_result()
    result.figures["machine idle"] = 0.25
    text = readme.tables([result], [result])
    assert "| room of 1,000, 50 msg/s: CPU to a bare send() loop | <= 1.250 | 1.200 |" in text
    assert "| fanout, per delivery | 9.500 |  | 1.500 | 7.003 | 25% | 0 |" in text
    names = [name for name, _ in readme.draw([result])]
    assert "idle meanwhile: fanout 25%." in text
    assert names == ["fanout-latency.svg", "fanout-over-time.svg"]


def test_the_readme_of_the_bench_is_whole() -> None:
    """Its marks are there, once, and each picture that it shows."""
    text = readme.README.read_text()
    assert len(re.findall("<!-- results: (?:begin|end) -->", text)) == 2
    for name in re.findall(r"\]\((plots/[^)]*)\)", text):
        assert (readme.README.parent / name).is_file()
