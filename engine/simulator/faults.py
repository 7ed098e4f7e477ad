"""What can go wrong on purpose, and when: ordered from outside, for a number of requests or at a rate."""

from dataclasses import dataclass, replace
from threading import Lock
from typing import Literal, get_args

from engine.simulator.dice import roll

Kind = Literal[
    "status",  # the vendor's error reply with `status`
    "html",  # an error page of something in front of the vendor
    "drop",  # the connection ends before any answer
    "slow_headers",  # `seconds` pass before the headers
    "slow_first_token",  # a stream starts, then `seconds` pass before its first content
    "stall",  # silence after `after` pieces of content, for `seconds`, or for ever
    "cut",  # the connection breaks after `after` pieces
    "error",  # an error event inside a 200 stream after `after` pieces
    "first_event_error",  # the same as the very first event
    "malformed",  # an event that is no JSON after `after` pieces; a whole reply is cut short
    "unended",  # the stream ends cleanly after `after` pieces, without its last events
    "empty",  # 200 and nothing more
]
KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class Trouble:
    kind: Kind
    status: int = 529
    retry_after: float | None = None
    seconds: float = 0.0
    after: int = 2
    message: str = ""

    @property
    def delays(self) -> bool:
        return self.kind in ("slow_headers", "slow_first_token")


@dataclass(frozen=True, slots=True)
class Order:
    """A trouble for the requests of a provider or a model, by any of its names; both empty means all. `times`
    of None never runs out."""

    trouble: Trouble
    provider: str = ""
    model: str = ""
    times: int | None = None
    rate: float = 1.0

    def fits(self, provider: str, names: tuple[str, ...]) -> bool:
        return self.provider in ("", provider) and self.model in ("", *names)


class Faults:
    """The orders that stand, in the order they came. Safe to change from another thread."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._orders: list[Order] = []
        self._lock = Lock()

    def add(self, order: Order) -> None:
        with self._lock:
            self._orders.append(order)

    def heal(self, provider: str = "", model: str = "") -> None:
        """Drop the orders that name this provider and model; without either, all of them."""
        with self._lock:
            self._orders = [
                order
                for order in self._orders
                if (provider and order.provider != provider) or (model and order.model != model)
            ]

    def due(self, provider: str, names: tuple[str, ...], number: int) -> tuple[Trouble, ...]:
        """What befalls request `number`: delays add up, and the first other trouble is the last."""
        troubles: list[Trouble] = []
        with self._lock:
            for index, order in enumerate(self._orders):
                if not order.fits(provider, names) or order.times == 0:
                    continue
                if roll(self._seed, number, index, order.trouble.kind) >= order.rate:
                    continue
                if order.times is not None:
                    self._orders[index] = replace(order, times=order.times - 1)
                troubles.append(order.trouble)
                if not order.trouble.delays:
                    break
            self._orders = [order for order in self._orders if order.times != 0]
        return tuple(troubles)

    @property
    def standing(self) -> tuple[Order, ...]:
        with self._lock:
            return tuple(self._orders)
