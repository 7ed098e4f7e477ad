from engine.simulator.caching import RULES, PromptCache
from engine.simulator.prompt import Segment, segment


def piece(name: str, tokens: int = 2_000, marked: bool = False) -> Segment:
    return segment(name, tokens, marked)


def test_a_marked_beginning_is_written_first_and_read_after() -> None:
    cache, rules = PromptCache(), RULES["anthropic"]
    prompt = (piece("system", marked=True), piece("question", 10))
    assert cache.use("m", prompt, rules, 0.0) == (0, 2_000)
    assert cache.use("m", prompt, rules, 1.0) == (2_000, 0)


def test_a_longer_prompt_reads_the_kept_beginning_and_writes_the_rest() -> None:
    cache, rules = PromptCache(), RULES["anthropic"]
    cache.use("m", (piece("a"), piece("b", marked=True)), rules, 0.0)
    assert cache.use("m", (piece("a"), piece("b"), piece("c", 300, marked=True)), rules, 1.0) == (4_000, 300)


def test_without_marks_nothing_is_kept_where_marks_decide() -> None:
    cache, rules = PromptCache(), RULES["anthropic"]
    assert cache.use("m", (piece("a"),), rules, 0.0) == (0, 0)
    assert cache.use("m", (piece("a"),), rules, 0.0) == (0, 0)


def test_a_beginning_too_short_is_not_kept() -> None:
    cache, rules = PromptCache(), RULES["anthropic"]
    prompt = (piece("a", 1_000, marked=True),)
    assert cache.use("m", prompt, rules, 0.0) == (0, 0)
    assert cache.use("m", prompt, rules, 0.0) == (0, 0)


def test_openai_keeps_every_beginning_in_blocks_of_128() -> None:
    cache, rules = PromptCache(), RULES["openai"]
    cache.use("m", (piece("a"), piece("b", 100)), rules, 0.0)
    read, _ = cache.use("m", (piece("a"), piece("other", 100)), rules, 0.0)
    assert read == 2_000 // 128 * 128


def test_models_and_keys_do_not_share_a_cache() -> None:
    cache, rules = PromptCache(), RULES["openai"]
    cache.use("one", (piece("a"),), rules, 0.0)
    assert cache.use("two", (piece("a"),), rules, 0.0)[0] == 0


def test_what_was_not_used_for_five_minutes_is_forgotten() -> None:
    cache, rules = PromptCache(), RULES["openai"]
    cache.use("m", (piece("a"),), rules, 0.0)
    assert cache.use("m", (piece("a"),), rules, 299.0)[0] > 0
    assert cache.use("m", (piece("a"),), rules, 299.0 + 301.0)[0] == 0


def test_the_cache_is_bounded() -> None:
    cache, rules = PromptCache(limit=2), RULES["openai"]
    for name in "abc":
        cache.use("m", (piece(name),), rules, 0.0)
    assert cache.use("m", (piece("a"),), rules, 0.0)[0] == 0
    assert cache.use("m", (piece("c"),), rules, 0.0)[0] > 0
