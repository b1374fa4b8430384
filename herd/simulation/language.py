"""What a simulated model says: plausible English that owns up to being simulated, decided by a hash of the request.

A piece stands for one token: a word with the space before it, or a part of a long word, or a mark.
"""

import hashlib
import re
from collections.abc import Iterator
from itertools import islice

from herd.types import Tokens

# A free answer's length. Short: a person who watches a demo wants to see answers end.
SHORTEST, LONGEST = 20, 120

# A long word is cut here: a token of today's vocabularies is four to five letters on average, a common word is one.
_PIECE = 7

_SUBJECTS = ("The machine", "A small model", "This answer", "The router", "One slot", "The queue", "A warm cache")
_VERBS = ("serves", "follows", "describes", "measures", "prefers", "repeats", "shortens")
_OBJECTS = ("every request", "the nearest path", "a plausible sentence", "the waiting time", "its own memory")
_ENDINGS = ("without hurry", "as a real one would", "token by token", "under load", "on purpose", "once more")

_PIECES = re.compile(rf"\s*\w{{1,{_PIECE}}}|\s*[^\w\s]")


def seed_of(*parts: str) -> bytes:
    """32 bytes that follow from `parts` alone; parts are kept apart, so ("ab", "c") is not ("a", "bc")."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.digest()


def count_tokens(text: str) -> Tokens:
    """About how many tokens `text` is: four letters each, the usual rule for English."""
    return Tokens((len(text) + 3) // 4)


def answer_length(seed: bytes, limit: Tokens | None) -> Tokens:
    """Tokens of the answer: `limit` where the request has one, else `SHORTEST` to `LONGEST` by the hash."""
    if limit is not None:
        return limit
    return Tokens(SHORTEST + int.from_bytes(seed[:4], "big") % (LONGEST - SHORTEST + 1))


def answer_pieces(seed: bytes, speaker: str, length: Tokens) -> Iterator[str]:
    """Exactly `length` pieces; joined they are the answer. `speaker` is named in its first words."""
    return islice(_endless(seed, speaker), length)


def _endless(seed: bytes, speaker: str) -> Iterator[str]:
    yield from _PIECES.findall(f"Simulated answer from {speaker}:")
    number = 0
    while True:
        choice = hashlib.sha256(seed + number.to_bytes(8, "big")).digest()
        words = (bank[choice[index] % len(bank)] for index, bank in enumerate((_SUBJECTS, _VERBS, _OBJECTS, _ENDINGS)))
        yield from _PIECES.findall(f" {' '.join(words)}.")
        number += 1
