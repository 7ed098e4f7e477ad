"""Chance that repeats: the same words always roll the same number, in every process."""

from hashlib import blake2b

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def roll(*words: object) -> float:
    """A number in 0..1, below 1."""
    return _number(words, 7) / 2**56


def token(length: int, *words: object) -> str:
    """Letters and digits, as vendors make their ids of."""
    number = _number(words, 64)
    letters = []
    for _ in range(length):
        number, index = divmod(number, len(ALPHABET))
        letters.append(ALPHABET[index])
    return "".join(letters)


def _number(words: tuple[object, ...], size: int) -> int:
    text = "\x1f".join(map(str, words)).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=size).digest())
