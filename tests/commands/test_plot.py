import importlib.util
from pathlib import Path
from xml.etree import ElementTree

import pytest

from engine.commands.plot import draw, sparkline
from engine.core.errors import RequestError

CURVES = {"quality": [0.9, 1.0, 1.1], "cost <&>": [1.0, 0.5, 0.4]}


@pytest.mark.parametrize(
    ("values", "line"), [([0.0, 1.0], "▁█"), ([3.0, 3.0, 3.0], "▁▁▁"), ([1.0, 0.0, 0.5], "█▁▅"), ([2.0], "▁")]
)
def test_a_line_of_bars_goes_from_the_lowest_to_the_highest(values: list[float], line: str) -> None:
    assert sparkline(values) == line


def test_an_svg_has_a_line_for_each_curve_within_its_frame(tmp_path: Path) -> None:
    path = tmp_path / "curve.svg"
    draw(path, "Title & more", CURVES, 14, "tasks")
    root = ElementTree.fromstring(path.read_text())
    lines = [one for one in root if one.tag.endswith("polyline")]
    assert len(lines) == 2
    for line in lines:
        points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
        assert len(points) == 3
        assert all(0 <= x <= 720 and 0 <= y <= 320 for x, y in points)
    texts = [one.text for one in root if one.tag.endswith("text")]
    assert {"Title & more", "cost <&>", "28 tasks"} <= set(texts)


def test_higher_is_further_up(tmp_path: Path) -> None:
    draw(tmp_path / "curve.svg", "", {"up": [0.0, 1.0]}, 1, "tasks")
    root = ElementTree.fromstring((tmp_path / "curve.svg").read_text())
    (line,) = [one for one in root if one.tag.endswith("polyline")]
    first, last = (float(point.split(",")[1]) for point in line.attrib["points"].split())
    assert last < first


def test_a_png_is_drawn_where_matplotlib_is_and_else_told_how(tmp_path: Path) -> None:
    path = tmp_path / "curve.png"
    if importlib.util.find_spec("matplotlib") is None:
        with pytest.raises(RequestError, match=r"pip install 'weave-engine\[report\]', or name an .svg"):
            draw(path, "", CURVES, 1, "tasks")
    else:
        draw(path, "", CURVES, 1, "tasks")
        assert path.read_bytes().startswith(b"\x89PNG")


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"a plot is a .png or an .svg"):
        draw(tmp_path / "curve.gif", "", CURVES, 1, "tasks")
