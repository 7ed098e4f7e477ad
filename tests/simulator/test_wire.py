import pytest

from engine.simulator.app import WIRES
from engine.simulator.models import PROVIDERS
from engine.simulator.wire import pieces


@pytest.mark.parametrize("text", ["", "a", "short text", "one two three four five six seven " * 9, "x" * 200])
def test_pieces_are_the_text_cut_up(text: str) -> None:
    cut = list(pieces(text))
    assert "".join(cut) == text
    assert all(cut)


def test_every_provider_speaks_a_wire_that_is_there() -> None:
    assert {provider.protocol for provider in PROVIDERS.values()} == WIRES.keys()
