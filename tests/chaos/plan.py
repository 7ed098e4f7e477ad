"""What is done to whom: everything a run of chaos decides by chance, as pure functions of its seed.

A session asks turn after turn; `ask` says what its turn is, what goes wrong at each provider meanwhile, and whether the
client leaves. `moment` says what happens to policies and endpoints in each second. Only the times at which things meet
are the machine's own, so two runs of one seed do the same things to the same sessions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, get_args

from engine.simulator.faults import Kind

Speech = Literal["anthropic", "chat", "responses", "gemini"]
SPEECHES: tuple[Speech, ...] = get_args(Speech)

PROVIDERS = ("anthropic", "openrouter", "openai", "responses", "google", "deepseek")
MODELS = ("opus", "sonnet", "haiku", "gpt", "sol", "gemini", "deepseek", "auto")

STATUSES = (400, 401, 402, 404, 408, 429, 500, 502, 503, 529)
WHOLE_STALL_SECONDS = 3  # a whole answer has no pieces to be watched; it only comes late

# Where a client hangs up, if it does.
Leaving = Literal["connected", "in_head", "in_body", "asked", "waiting", "answered", "in_answer"]
LEAVINGS: tuple[Leaving, ...] = get_args(Leaving)


# Who asks: session n is of person n % PEOPLE, who is of team n % TEAMS. Sessions of different people have one name.
PEOPLE = 12
TEAMS = 3


@dataclass(frozen=True, slots=True)
class Course:
    """How a run goes. `rate` is how many requests a second all sessions together would like to send."""

    seed: int
    sessions: int
    seconds: float
    rate: float
    trouble: float = 0.2  # the share of calls at each provider that meet with one
    leaving: float = 0.12  # the share of requests whose client hangs up
    deaths: bool = True

    @property
    def pause_seconds(self) -> float:
        """Between two turns of a session, in the mean."""
        return self.sessions / self.rate


@dataclass(frozen=True, slots=True)
class Ask:
    """One request of one session. `nonce` is found in nothing else; `troubles` are directives for the simulators."""

    session: int
    turn: int
    nonce: str
    speech: Speech
    stream: bool
    model: str
    words: int
    tool: bool
    troubles: tuple[str, ...]
    statuses: frozenset[int]  # that providers were ordered to answer with
    padding: int  # characters the body is longer by
    pause: float  # of the mean, before it
    leaving: Leaving | None
    patience: float  # of a client that leaves, in seconds; or in thousands of bytes, once there is an answer
    outcome: int  # 0: none; 1: the work was good; -1: it was not
    private: bool  # a guard of some policies sends it to one model alone

    @property
    def text(self) -> str:
        """What a simulated model is to say."""
        return said(self.nonce, "@call", self.words)


def said(nonce: str, call: str, words: int) -> str:
    """An answer of which every part tells whose it is and which call it comes from."""
    return " ".join([nonce, *(nonce if n % 7 == 6 else f"{call}.{n}" for n in range(words))])


def ask(course: Course, session: int, turn: int) -> Ask:
    chance = Random(f"{course.seed}/{session}/{turn}")
    nonce = f"n{chance.getrandbits(48):012x}"
    speech = chance.choice(SPEECHES)
    stream = chance.random() < 0.7
    troubles: list[str] = []
    statuses: set[int] = set()
    for provider in PROVIDERS:
        if chance.random() < course.trouble:
            directive, status = _trouble(chance)
            troubles.append(f"provider={provider} {directive}")
            statuses |= {status} if status else set()
    return Ask(
        session=session,
        turn=turn,
        nonce=nonce,
        speech=speech,
        stream=stream,
        model=chance.choice(MODELS),
        words=chance.randrange(2, 30),
        tool=chance.random() < 0.2,
        troubles=tuple(troubles),
        statuses=frozenset(statuses),
        padding=600_000 if chance.random() < 0.004 else chance.randrange(400),
        pause=chance.uniform(0.2, 1.8),
        leaving=chance.choice(LEAVINGS) if chance.random() < course.leaving else None,
        patience=chance.uniform(0.0, 2.0),
        outcome=chance.choice((0, 0, 0, 1, -1)),
        private=chance.random() < 0.03,
    )


def _trouble(chance: Random) -> tuple[str, int]:
    """A directive for a simulator, and the status it makes a provider answer with, if one."""
    kinds: Sequence[Kind] = get_args(Kind)
    after, kind = chance.randrange(0, 6), chance.choice(kinds)
    status = chance.choice(STATUSES)
    match kind:
        case "status":
            wait = "" if status != 429 or chance.random() < 0.02 else " retry_after=1"
            return f"status={status}{wait}", status
        case "html":
            return "html_502", 502
        case "slow_headers" | "slow_first_token":
            return f"{kind}={chance.choice((0.3, 0.8, 4))}", 0
        case "stall":
            return f"stall={after} seconds={WHOLE_STALL_SECONDS}", 0
        case "error":
            return f"error_in_stream={after} status={status}", status
        case "first_event_error":
            return f"first_event_error status={status}", status
        case "cut" | "unended" | "malformed":
            return f"{kind}={after}", 0
        case "drop" | "empty":
            return kind, 0


@dataclass(frozen=True, slots=True)
class Moment:
    """What happens in one second: which policies are written, whose sockets close or open again, who is in a storm."""

    policy: int
    dies: str
    storm: str


def moment(course: Course, second: int) -> Moment:
    """`dies` names a provider whose socket is closed for this second and perhaps the next ones."""
    chance = Random(f"{course.seed}/second/{second}")
    period = Random(f"{course.seed}/period/{second // 5}")
    name, first = period.choice(PROVIDERS), period.randrange(4)
    dead = course.deaths and period.random() < 0.7 and first <= second % 5 <= first + 1
    return Moment(
        policy=chance.getrandbits(32),
        dies=name if dead else "",
        storm=chance.choice(PROVIDERS) if chance.random() < 0.15 else "",
    )
