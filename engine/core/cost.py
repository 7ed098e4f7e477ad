"""What a call costs."""

from engine.core.catalog import Price
from engine.core.reply import Usage

MILLION = 1_000_000


def cost_usd(usage: Usage, price: Price) -> float:
    """US dollars for one call. Cache reads and writes are part of the input and priced on their own."""
    plain = max(usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens, 0)
    return (
        plain * price.input
        + usage.cache_read_tokens * price.cache_read
        + usage.cache_write_tokens * price.cache_write
        + usage.output_tokens * price.output
    ) / MILLION
