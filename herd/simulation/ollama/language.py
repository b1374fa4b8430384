"""What a simulated model says: plausible English that owns up to being simulated, decided by a hash of the request.

A piece stands for one token: a word with the space before it, or a part of a long word, or a mark.
"""

import hashlib
import re
from collections.abc import Iterator
from functools import cache
from itertools import chain, count, islice

from herd.types import Tokens

# A free answer's length. Short: a person who watches a demo wants to see answers end.
SHORTEST, LONGEST = 20, 120
LONGEST_THOUGHT = 60

# Letters of a token: the usual rule for English.
_LETTERS = 4

# A long word is cut here: a token of today's vocabularies is four to five letters on average, a common word is one.
_PIECE = 7

_SUBJECTS = ("The machine", "A small model", "This answer", "The router", "One slot", "The queue", "A warm cache")
_VERBS = ("serves", "follows", "describes", "measures", "prefers", "repeats", "shortens")
_OBJECTS = ("every request", "the nearest path", "a plausible sentence", "the waiting time", "its own memory")
_ENDINGS = ("without hurry", "as a real one would", "token by token", "under load", "on purpose", "once more")

_BANKS = (_SUBJECTS, _VERBS, _OBJECTS, _ENDINGS)

_PIECES = re.compile(rf"\s*\w{{1,{_PIECE}}}|\s*[^\w\s]")


def seed_of(*parts: str) -> bytes:
    """32 bytes that follow from `parts` alone; parts are kept apart, so ("ab", "c") is not ("a", "bc")."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.digest()


def count_tokens(text: str) -> Tokens:
    """About how many tokens `text` is."""
    return Tokens((len(text) + _LETTERS - 1) // _LETTERS)


def answer_length(seed: bytes) -> Tokens:
    """Tokens of an answer that nobody limits: `SHORTEST` to `LONGEST`, by the hash."""
    return Tokens(SHORTEST + int.from_bytes(seed[:4], "big") % (LONGEST - SHORTEST + 1))


def thought_length(seed: bytes) -> Tokens:
    """Tokens of the thoughts before an answer that nobody limits, likewise."""
    return Tokens(SHORTEST + int.from_bytes(seed[4:8], "big") % (LONGEST_THOUGHT - SHORTEST + 1))


def answer_pieces(seed: bytes, speaker: str, length: Tokens) -> Iterator[str]:
    """Exactly `length` pieces; joined they are the answer. `speaker` is named in its first words."""
    return islice(_endless(seed, f"Simulated answer from {speaker}:"), length)


def thought_pieces(seed: bytes, length: Tokens) -> Iterator[str]:
    """Exactly `length` pieces; joined they are what the model thinks before it answers."""
    return islice(_endless(hashlib.sha256(b"thought" + seed).digest(), "Simulated thoughts:"), length)


def cut(text: str) -> list[str]:
    """A text that is no prose, in pieces: as many as `count_tokens` counts."""
    return [text[start : start + _LETTERS] for start in range(0, len(text), _LETTERS)]


def _endless(seed: bytes, beginning: str) -> Iterator[str]:
    return chain(_PIECES.findall(beginning), chain.from_iterable(_sentences(seed)))


def _sentences(seed: bytes) -> Iterator[tuple[str, ...]]:
    for number in count():
        choice = hashlib.sha256(seed + number.to_bytes(8, "big")).digest()
        yield _sentence(*[choice[index] % len(bank) for index, bank in enumerate(_BANKS)])


# There are so few that each is cut up once: a simulated week needs millions.
@cache
def _sentence(*words: int) -> tuple[str, ...]:
    """The pieces of the sentence of these words, one of each bank."""
    return tuple(_PIECES.findall(f" {' '.join(bank[word] for bank, word in zip(_BANKS, words, strict=True))}."))
