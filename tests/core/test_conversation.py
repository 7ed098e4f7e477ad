"""What becomes of a field on its way, and what an operator allows."""

import pytest

from engine.core.conversation import Loss, Lossy


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("messages.3.content.0.cache_control", "messages[3].content[0].cache_control"),
        ("tools.2", "tools[2]"),
        ("metadata.4x", "metadata.4x"),
        ("seed", "seed"),
        ("content.1.parts.20", "content[1].parts[20]"),
    ],
)
def test_a_path_is_shown_as_people_write_it(path: str, place: str) -> None:
    assert Loss(path, "").place == place


def test_content_is_refused_and_tuning_reported_where_nobody_says_otherwise() -> None:
    usual = Lossy()
    assert usual.refuses(Loss("messages.0.content.1", "", stake="content"))
    assert not usual.refuses(Loss("messages.0.content.1", "", "converted", "content"))
    assert not usual.refuses(Loss("top_k", ""))
    assert not usual.refuses(Loss("tools.0", "", stake="offer"))


def test_what_only_its_origin_can_read_is_never_a_reason_to_refuse() -> None:
    strict = Lossy("refuse", "refuse", "refuse")
    assert not strict.refuses(Loss("messages.1.content.0", "", stake="sealed"))
    assert strict.refuses(Loss("top_k", ""))
    assert strict.refuses(Loss("tools.0", "", stake="offer"))
