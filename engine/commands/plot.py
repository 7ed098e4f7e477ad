"""Curves in a terminal and in files: the one door to matplotlib, which draws PNG where it is installed."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from engine.core.errors import RequestError

BARS = "▁▂▃▄▅▆▇█"
COLOURS = ("#2f6f4f", "#b5541c", "#3b5b92", "#8a3b8f")
WIDTH, HEIGHT, EDGE = 720, 320, 48


def sparkline(values: Sequence[float]) -> str:
    """A character for each value, from the lowest to the highest of them."""
    low, high = min(values), max(values)
    spread = (high - low) or 1.0
    return "".join(BARS[round((value - low) / spread * (len(BARS) - 1))] for value in values)


def draw(path: Path, title: str, curves: Mapping[str, Sequence[float]], each: int, unit: str) -> None:
    """Writes the curves, whose points are `each` apart, as .svg or .png. Raises RequestError for another ending, or
    for PNG where matplotlib is not installed."""
    match path.suffix.lower():
        case ".svg":
            path.write_text(_svg(title, curves, each, unit), encoding="utf-8")
        case ".png":
            _png(path, title, curves, each, unit)
        case _:
            raise RequestError(f"{path}: a plot is a .png or an .svg")


def _svg(title: str, curves: Mapping[str, Sequence[float]], each: int, unit: str) -> str:
    low = min(0.0, *(min(values) for values in curves.values()))
    high = max(1.0, *(max(values) for values in curves.values()))
    length = max(len(values) for values in curves.values())

    def across(index: float) -> float:
        return EDGE + index / max(length - 1, 1) * (WIDTH - 2 * EDGE)

    def up(value: float) -> float:
        return HEIGHT - EDGE - (value - low) / (high - low) * (HEIGHT - 2 * EDGE)

    parts = [f'<text x="{EDGE}" y="20" font-size="14">{escape(title)}</text>']
    for value in (low, (low + high) / 2, high):
        y = up(value)
        parts.append(f'<line x1="{EDGE}" x2="{WIDTH - EDGE}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ccc"/>')
        parts.append(f'<text x="{EDGE - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.2f}</text>')
    for index in (0, length - 1):
        x, label = across(index), f"{index * each} {unit}"
        parts.append(
            f'<text x="{x:.1f}" y="{HEIGHT - EDGE + 18}" text-anchor="middle">{escape(label)}</text>'
        )
    for number, (name, values) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(f"{across(at):.1f},{up(value):.1f}" for at, value in enumerate(values))
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{points}"/>')
        x = EDGE + number * 160
        parts.append(f'<text x="{x}" y="{HEIGHT - 10}" fill="{colour}">{escape(name)}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
        f' font-size="11">\n<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _png(path: Path, title: str, curves: Mapping[str, Sequence[float]], each: int, unit: str) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        message = "a PNG needs matplotlib: pip install 'weave-engine[report]', or name an .svg"
        raise RequestError(message) from error
    figure = Figure(figsize=(WIDTH / 100, HEIGHT / 100), dpi=200, layout="constrained")
    axes = figure.add_subplot(title=title, xlabel=unit)
    for number, (name, values) in enumerate(curves.items()):
        axes.plot(
            [at * each for at in range(len(values))], values, label=name, color=COLOURS[number % len(COLOURS)]
        )
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.savefig(path)
