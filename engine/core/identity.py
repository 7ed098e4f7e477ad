"""Who asks: what authentication says of a caller, which nothing a request holds can change."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Identity:
    """Sessions, spend and limits go by `name` and `team`, never by a key: a name may have several keys at a time.
    `may_force` says whether the hint x-weave-model is heard."""

    name: str
    team: str = ""
    data_class: str = ""
    may_force: bool = True

    @property
    def values(self) -> Mapping[str, str]:
        """As the `identity` root of expressions sees it."""
        return {"name": self.name, "team": self.team, "data_class": self.data_class}


# Whoever reaches a loopback port of an engine without keys is the operator.
LOCAL = Identity("local")
