"""What a call costs.

Prices and costs are dollars; what is added up over many calls is whole nano-dollars, whose sums are exact.
"""

from engine.core.catalog import Price
from engine.core.reply import Usage

MILLION = 1_000_000
NANOS = 1_000_000_000  # of a dollar


def cost_usd(usage: Usage, price: Price) -> float:
    """US dollars for one call. Cache reads and writes are part of the input and priced on their own."""
    plain = max(usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens, 0)
    return (
        plain * price.input
        + usage.cache_read_tokens * price.cache_read
        + usage.cache_write_tokens * price.cache_write
        + usage.output_tokens * price.output
    ) / MILLION


def nanos(usd: float) -> int:
    """Dollars as whole nano-dollars."""
    return round(usd * NANOS)


def usd_of(amount: int) -> float:
    return amount / NANOS
