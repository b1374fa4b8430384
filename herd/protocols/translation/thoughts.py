"""Thoughts that a server leaves within the text, in the tags of the model's template.

Ollama takes them out of the text. So do llama.cpp, vLLM with a reasoning parser, and LM Studio where its owner wants
it; else an answer begins with `<think>`.
"""

from dataclasses import replace

from herd.protocols.translation.answers import Said

_OPEN, _CLOSE = "<think>", "</think>"
# White space before a tag, which is held back until it is clear whether a tag follows: some empty lines. A model that
# writes nothing else without end, as some do when they have to write JSON, is not to be waited for.
_MOST_SPACE = 16


class ThoughtSplitter:
    """Told the pieces of a text, however they are cut, it says which of it is thought.

    Only tags at the very beginning count: further on a model may write of them.
    """

    def __init__(self) -> None:
        self._waiting = ""  # what may turn out to be the beginning of a tag
        self._open: bool | None = None  # None: nothing but the beginning of a tag, and white space, has come so far
        self._over = False  # the rest is text
        self._trim = False  # white space that follows a tag belongs to it

    def split(self, said: Said) -> Said:
        """A piece of an answer with its thoughts apart; it may have nothing left."""
        if not said.text and not said.calls:
            return said
        thought, text = self.feed(said.text)
        if said.calls:  # no thought goes on behind them
            more_thought, more_text = self.end()
            thought, text = thought + more_thought, text + more_text
        return replace(said, thought=said.thought + thought, text=text)

    def feed(self, text: str) -> tuple[str, str]:
        """The thought and the text that come with a piece."""
        if self._over and not self._trim:
            return "", text
        text, self._waiting = self._waiting + text, ""
        thought = ""
        if self._open is None:
            text = self._begin(text)
        if self._open:
            thought, text = self._think(text)
        if self._trim:
            text = text.lstrip()
            self._trim = not text
        return thought, text

    def end(self) -> tuple[str, str]:
        """What was held back, when nothing follows."""
        waiting, self._waiting = self._waiting, ""
        return (waiting, "") if self._open and not self._over else ("", waiting)

    def _begin(self, text: str) -> str:
        begun = text.lstrip()
        near = len(text) - len(begun) <= _MOST_SPACE
        if near and begun.startswith(_OPEN):
            self._open = self._trim = True
            return begun.removeprefix(_OPEN)
        if near and _OPEN.startswith(begun):  # also when nothing has come
            self._waiting = text
            return ""
        self._open, self._over = False, True
        return text

    def _think(self, text: str) -> tuple[str, str]:
        if self._over:
            return "", text
        if self._trim:
            text = text.lstrip()
            self._trim = not text
        thought, closed, rest = text.partition(_CLOSE)
        if closed:
            self._over = self._trim = True
            return thought, rest
        held = next(length for length in range(len(_CLOSE) - 1, -1, -1) if text.endswith(_CLOSE[:length]))
        self._waiting = text[len(text) - held :]
        return text[: len(text) - held], ""
