import pytest

from engine.core.catalog import Price
from engine.core.cost import cost_usd, nanos, usd_of
from engine.core.reply import Usage

PRICE = Price(input=5.0, output=25.0, cache_read=0.5, cache_write=6.25)


@pytest.mark.parametrize(
    ("usage", "usd"),
    [
        (Usage(), 0.0),
        (Usage(input_tokens=1_000_000), 5.0),
        (Usage(output_tokens=1_000_000), 25.0),
        # G34: cached tokens are part of the input and are priced once
        (Usage(input_tokens=1_000_000, cache_read_tokens=1_000_000), 0.5),
        (
            Usage(input_tokens=1_000_000, cache_read_tokens=400_000, cache_write_tokens=100_000),
            2.5 + 0.2 + 0.625,
        ),
        # reasoning is part of the output
        (Usage(output_tokens=1_000_000, reasoning_tokens=900_000), 25.0),
    ],
)
def test_each_token_is_priced_once(usage: Usage, usd: float) -> None:
    assert cost_usd(usage, PRICE) == pytest.approx(usd)


def test_sums_of_nano_dollars_are_exact() -> None:
    tenth = nanos(0.1)
    assert sum([tenth] * 1_000_000) == nanos(100_000)
    assert usd_of(tenth * 3) == 0.3
    assert nanos(0.000_000_000_4) == 0
