"""What is walked of conversations nobody has, and that it is little, whatever they are made of."""

import pytest

from engine.core.conversation import Message, Part, Text
from engine.features.crowd import CROWD, END, MIDDLE, OPENING, Crowd, crowd_of, stretched

HI = Text("hi")


def messages(*sizes: int) -> list[Message]:
    """One message of that many parts for each size, each with a text of its own."""
    return [Message("user", (Text(str(at)), *[HI] * (size - 1))) for at, size in enumerate(sizes)]


def weight(walked: Crowd) -> int:
    return sum(1 + len(each.parts) for group in (walked.opening, walked.middle, walked.end) for each in group)


def test_an_ordinary_conversation_is_walked_whole() -> None:
    assert crowd_of([]) is None
    assert crowd_of(messages(*[1] * (CROWD // 2))) is None
    assert crowd_of(messages(*[1] * (CROWD // 2 + 1))) is not None


def test_of_a_crowd_the_opening_and_the_end_are_walked() -> None:
    everyone = messages(*[1] * 50_000)
    crowd = crowd_of(everyone)
    assert crowd is not None
    assert list(crowd.opening) == everyone[: OPENING // 2]
    assert list(crowd.end) == everyone[-END // 2 :]


def test_the_middle_stands_for_all_that_is_between() -> None:
    crowd = crowd_of(messages(*[1] * 50_000))
    assert crowd is not None
    walked = len(crowd.opening) + len(crowd.end) + len(crowd.middle) * crowd.factor
    assert walked == pytest.approx(50_000)
    assert len(set(map(_first, crowd.middle))) == len(crowd.middle)


def _first(message: Message) -> Part:
    return message.parts[0]


@pytest.mark.parametrize(
    "sizes",
    [
        [1] * 300_000,
        [300_000],
        [0] * 100_000,
        [200 if at // 50 % 5 == 0 else 1 for at in range(20_000)],
        [5_000, *[1] * 100, 6_000],
    ],
    ids=["tiny messages", "one message", "empty messages", "uneven", "two large messages"],
)
def test_little_is_walked_however_much_there_is(sizes: list[int]) -> None:
    crowd = crowd_of(messages(*sizes) if sizes[0] else [Message("user", ())] * len(sizes))
    assert crowd is not None
    assert weight(crowd) <= OPENING + 2 * MIDDLE + END


def test_a_count_grows_by_what_its_growth_stands_for() -> None:
    assert stretched(7, 5, 10.0) == 25
    assert stretched(5, 5, 10.0) == 5
