from engine.simulator.dice import roll, token


def test_the_same_words_roll_the_same_number() -> None:
    assert roll(1, "a") == roll(1, "a")
    assert roll(1, "a") != roll(1, "b")


def test_rolls_spread_evenly_between_zero_and_one() -> None:
    rolls = [roll("spread", number) for number in range(2_000)]
    assert all(0 <= each < 1 for each in rolls)
    assert 0.47 < sum(rolls) / len(rolls) < 0.53


def test_a_token_has_the_length_asked_for_and_only_letters_and_digits() -> None:
    assert len(token(24, "x")) == 24
    assert token(24, "x").isalnum()
    assert token(24, "x") != token(24, "y")
