from engine.learning.grams import BUCKETS, MOST_GRAMS, grams_of


def test_words_and_pairs_of_words_are_numbers_each_once() -> None:
    assert len(grams_of("rename the parser")) == 5
    assert grams_of("Rename, the parser!") == grams_of("rename the parser")
    assert grams_of("a a a a") == grams_of("a a")
    assert grams_of("") == ()
    assert all(0 <= gram < BUCKETS for gram in grams_of("rename the parser"))


def test_a_long_text_is_read_from_its_start_only() -> None:
    text = " ".join(f"w{number}" for number in range(10_000))
    assert grams_of(text) == grams_of(text + " and more")
    assert len(grams_of(text)) <= MOST_GRAMS
