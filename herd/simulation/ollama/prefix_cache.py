"""What a runner's slots still hold of earlier prompts: a request that begins the same skips that part of its prefill.

llama.cpp, which Ollama runs, gives a request the free slot with the longest common beginning, else the one that was
unused for longest.
"""

from dataclasses import dataclass

from herd.types import Tokens

# Letters of a token, by the rule that `language.count_tokens` counts with.
_LETTERS = 4


@dataclass(slots=True, eq=False)
class Prefix:
    """The prompt that a slot last held.

    Attributes:
        text: it, whole.
        used: number of the slot's last use.
        busy: the slot is in use.
    """

    text: str = ""
    used: int = 0
    busy: bool = False


class PrefixCache:
    """The slots of one runner, by what they hold."""

    def __init__(self, slots: int) -> None:
        self._prefixes = [Prefix() for _ in range(slots)]
        self._uses = 0

    def take(self, text: str) -> tuple[Prefix, Tokens]:
        """The free slot that suits the prompt best, busy from now on, and how many tokens of the prompt it holds.

        Whoever asks was granted a slot, so one is free.
        """
        free = [prefix for prefix in self._prefixes if not prefix.busy]
        common = [_common(prefix.text, text) for prefix in free]
        best = max(range(len(free)), key=lambda index: (common[index], -free[index].used))
        self._uses += 1
        free[best].used, free[best].busy = self._uses, True
        return free[best], Tokens(common[best] // _LETTERS)


def _common(one: str, other: str) -> int:
    """Letters that both begin with. By halves: texts are long, and to compare slices is quick."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
