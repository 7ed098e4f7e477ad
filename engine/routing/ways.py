"""The ways to models as one request sees them: which first, which closed, and what it tells of the ones it took."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from engine.core.catalog import Binding, Model
from engine.core.errors import Fault
from engine.core.policy import Breaker
from engine.routing.balance import Balance
from engine.routing.health import Condition, Health, Probes


@dataclass(frozen=True, slots=True)
class RequestWays:
    """Implements `core.ports.Ways` for the request `id` of a session, which is empty where there is none."""

    health: Health
    balance: Balance
    session: str
    id: str
    _probes: dict[Binding, Probes] = field(default_factory=dict)  # of the calls under way that are probes

    def order(self, model: Model, now: float) -> Sequence[Binding]:
        return self.balance.order(model, self.session, self.id, now)

    def admits(self, binding: Binding, rules: Breaker, now: float) -> bool:
        return self.health.admits(binding, rules, now)

    def waits(self, binding: Binding, now: float) -> float:
        return self.health.waits(binding, now)

    def limited(self, binding: Binding, now: float) -> bool:
        return self.health.limited(binding, now)

    def returns(self, binding: Binding, now: float) -> bool:
        return self.health.returns(binding, now)

    def began(self, binding: Binding, now: float) -> None:
        if probes := self.health.began(binding, now):
            self._probes[binding] = probes
        self.balance.began(binding)

    def abandoned(self, binding: Binding) -> None:
        """The client left before the call came to an end."""
        self.health.abandoned(self._probes.pop(binding, ()))
        self.balance.ended(binding)

    def ended(
        self,
        model: Model,
        binding: Binding,
        fault: Fault | None,
        seconds: float | None,
        rules: Breaker,
        now: float,
        reached: bool,
    ) -> list[Condition]:
        """`seconds` to the first content, where that was measured; `reached` as `Health.ended` has it."""
        self.balance.ended(binding)
        if fault is None:
            self.balance.served(model, binding, self.session, seconds, now)
        probes = self._probes.pop(binding, ())
        return self.health.ended(binding, fault, seconds or 0.0, rules, now, reached, probes)
