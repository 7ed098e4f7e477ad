"""A seed says what is done to whom, and over a run everything that can go wrong does."""

from pathlib import Path

import pytest

from engine.core.errors import InvalidDocumentsError
from engine.simulator.faults import KINDS
from engine.simulator.models import PROVIDERS
from engine.simulator.script import parse
from engine.snapshot import build
from tests.chaos import policies
from tests.chaos.plan import LEAVINGS, SPEECHES, Course, ask, moment
from tests.chaos.plan import PROVIDERS as ENDPOINTS

COURSE = Course(seed=5, sessions=400, seconds=10.0, rate=10.0)
URLS = {name: f"http://127.0.0.1:1/{name}{PROVIDERS[name].base}" for name in ENDPOINTS}


def test_a_seed_repeats_a_run_and_another_does_another() -> None:
    again = Course(seed=5, sessions=400, seconds=99.0, rate=99.0)
    other = Course(seed=6, sessions=400, seconds=10.0, rate=10.0)
    assert [ask(COURSE, 3, turn) for turn in range(20)] == [ask(again, 3, turn) for turn in range(20)]
    assert [ask(COURSE, 3, turn) for turn in range(20)] != [ask(other, 3, turn) for turn in range(20)]
    assert [moment(COURSE, second) for second in range(20)] == [moment(again, second) for second in range(20)]


def test_everything_that_can_go_wrong_does() -> None:
    asks = [ask(COURSE, session, turn) for session in range(COURSE.sessions) for turn in range(3)]
    assert {one.speech for one in asks} == set(SPEECHES)
    assert {one.leaving for one in asks} == {None, *LEAVINGS}
    assert {one.stream for one in asks} == {one.tool for one in asks} == {one.private for one in asks}
    troubles = [(one, directive) for one in asks for directive in one.troubles]
    read = {
        trouble.kind
        for _, directive in troubles
        for provider in (directive.split()[0].removeprefix("provider="),)
        for trouble in parse(f"[[sim: {directive}]]", provider, "any").troubles
    }
    assert read == set(KINDS)
    assert len(troubles) / len(asks) / len(URLS) == pytest.approx(COURSE.trouble, abs=0.02)


def test_nonces_are_nobody_else_s() -> None:
    nonces = [ask(COURSE, session, turn).nonce for session in range(COURSE.sessions) for turn in range(5)]
    assert len(set(nonces)) == len(nonces)


def test_most_policies_hold_and_the_others_are_refused() -> None:
    catalog, refused = policies.catalog(URLS), 0
    for number in range(60):
        try:
            build({"catalog.yaml": catalog, "chaos.yaml": policies.policy(number)})
        except InvalidDocumentsError:
            refused += 1
            assert policies.policy(number) in policies.BROKEN
    assert 0 < refused < 15


@pytest.mark.parametrize("whole", [True, False])
def test_a_policy_is_written_in_full_however_it_is_written(tmp_path: Path, whole: bool) -> None:
    for text in ("one: 1\n", "two: [2, 2]\n"):
        policies.write(tmp_path, {"a.yaml": text}, whole)
        assert (tmp_path / "a.yaml").read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["a.yaml"]
