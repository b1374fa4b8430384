"""Bash, and the colons of models: it takes every one for a word of its own."""

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout

import typer


def rejoined(words: Sequence[str], current: int) -> tuple[list[str], int, str]:
    """The words of a command line as a person sees them, for bash takes every colon for a word of its own.

    Args:
        words: as bash has them.
        current: index of the one that is completed.

    Returns:
        The words, the index among them, and what of that word bash will not replace: its completions begin behind it.
    """
    whole: list[str] = []
    index = current
    for number, word in enumerate(words):
        behind = number > 0 and words[number - 1] == ":" and word not in ("", ":") and not word.startswith("-")
        if whole and (word == ":" or behind):
            whole[-1] += word
        else:
            whole.append(word)
        if number == current:
            index = len(whole) - 1
    kept = whole[index].rpartition(":")[:2] if index < len(whole) and words[current] != "" else ("", "")
    return whole, index, "".join(kept)


@contextmanager
def whole_words(complete_variable: str) -> Iterator[None]:
    """Within the block the shell's words are whole, and what is printed for bash fits behind its last colon."""
    words, current = os.environ.get("COMP_WORDS", "").split(" "), os.environ.get("COMP_CWORD", "")
    bash = os.environ.get(complete_variable) == "complete_bash"
    if not bash or ":" not in words or not (current.isdecimal() and int(current) < len(words)):
        yield
        return
    whole, index, kept = rejoined(words, int(current))
    os.environ.update(COMP_WORDS=" ".join(whole), COMP_CWORD=str(index))
    said = io.StringIO()
    try:
        with redirect_stdout(said):
            yield
    finally:
        typer.echo("\n".join(line.removeprefix(kept) for line in said.getvalue().splitlines()))
