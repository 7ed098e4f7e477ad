"""A short run of chaos over sockets, judged like the long ones of `make chaos` and `make soak`."""

import sys
from pathlib import Path

import pytest

from tests.chaos.plan import Course
from tests.chaos.run import run

SEED = 20_260_101


@pytest.mark.skipif(sys.platform != "linux", reason="the run reads what processes hold from /proc")
def test_nobody_is_left_without_an_end_whatever_goes_wrong(tmp_path: Path) -> None:
    findings = run(Course(SEED, sessions=100, seconds=6.0, rate=40.0), tmp_path)
    assert findings.all_well, "\n".join([findings.line(), *findings.told()])
    figures = findings.figures
    assert figures["requests"] > 100
    assert min(figures["served"], figures["errors"], figures["left"], figures["troubled_calls"]) > 0
