"""What mflux's commands say while they run, and what came of it. As of mflux 0.24.0."""

import math
import re
from collections.abc import Mapping, Sequence

import orjson

from herd.errors import RequestError
from herd.protocols.mflux import Wish

_PNG = b"\x89PNG\r\n\x1a\n"
HEAD = 24  # bytes of a PNG, up to its dimensions

_MAX_SENTENCE = 300  # of a tool's own words: mflux's longest error, which names all models, tells nothing beyond
_WORD = re.compile(r"\w{3,}")
# Its own sentences about stopping, which can hold nothing of the client's.
_STOPPED = re.compile(r"Battery below \d+% threshold: \d+%|Stopping image generation at step \d+/\d+", re.ASCII)
_RAISED = re.compile(r"(?:[a-z_]\w*\.)*([A-Z]\w*)(?:: (.*))?", re.DOTALL)
_OFFLINE = ("LocalEntryNotFoundError", "OfflineModeIsEnabled")
_MEMORY = re.compile(r"out of memory|insufficient memory|unable to allocate|std::bad_alloc", re.IGNORECASE)
_USAGE = 2  # argparse's exit status


class Progress:
    """Follows a command by the bar that it draws for each image; tell it every line.

    Attributes:
        steps: done so far, of all images.
        image_steps: of one image; 0: the first step has not begun yet.
    """

    # tqdm's, without a title: other bars are of downloads and of decoding. Nobody counts to more than five digits.
    _BAR = re.compile(r"\d{1,3}%\|[^|]*\|\s*(\d{1,5})/(\d{1,5}) \[", re.ASCII)

    def __init__(self) -> None:
        self.image_steps = 0
        self._done = 0  # of the images before this one
        self._step = 0  # of this one

    @property
    def steps(self) -> int:
        return self._done + self._step

    def said(self, line: str) -> bool:
        """Whether this was a line of the bar; it is read."""
        match = self._BAR.match(line)
        if match is None:
            return False
        step, self.image_steps = int(match[1]), int(match[2])
        if step < self._step:
            self._done += self._step
        self._step = step
        return True


def failure(status: int, out: str, err: Sequence[str], wish: Wish) -> RequestError:
    """What a run without (all of) its images is answered with: a sentence without a word of the prompt.

    Args:
        status: the command's exit status; negative for a signal.
        out: the last line of its standard output.
        err: the last ones of its standard error, without those of the bar.
        wish: the request.
    """
    last = err[-1] if err else ""
    if status < 0:
        return RequestError(f"mflux was ended by {_signal(-status)}: often that is want of memory", status=500)
    if status == 0:  # mflux's own way to stop: a battery that is low, a Ctrl-C
        reason = _without(out, wish) or "it gives no reason"
        return RequestError(f"mflux stopped without an image: {reason}", status=503)
    if any(_MEMORY.search(line) for line in err):
        return RequestError(f"mflux ran out of memory with {wish.model}", status=503)
    if status == _USAGE:
        return RequestError(f"mflux refuses the request: {_without(last.partition('error: ')[2], wish)}")
    raised = _RAISED.fullmatch(last)
    name, words = (raised[1], raised[2] or "") if raised is not None else ("", last)
    if any(word in line for line in err for word in _OFFLINE):
        return RequestError(
            f"the weights of {wish.model} on this node are not whole: run mflux with it once, outside of Herd",
            status=503,
        )
    words = _without(words, wish)
    return RequestError(
        f"mflux failed: {': '.join(filter(None, (name, words))) or f'exit status {status}'}", status=500
    )


def _without(words: str, wish: Wish) -> str:
    """A tool's words, or none where they may be the client's."""
    private = {word.lower() for word in _WORD.findall(f"{wish.prompt} {wish.negative_prompt}")}
    shared = any(word.lower() in private for word in _WORD.findall(words))
    if not _STOPPED.fullmatch(words) and (shared or not words.isascii()):
        return ""
    return words if len(words) <= _MAX_SENTENCE else f"{words[:_MAX_SENTENCE]}…"


def _signal(number: int) -> str:
    return _SIGNALS.get(number, f"signal {number}")


_SIGNALS = {6: "SIGABRT", 9: "SIGKILL", 10: "SIGBUS", 11: "SIGSEGV", 15: "SIGTERM"}


def dimensions(start: bytes) -> tuple[int, int] | None:
    """Width and height of a PNG by its first `HEAD` bytes; None where it is none."""
    if len(start) < HEAD or start[:8] != _PNG or start[12:16] != b"IHDR":
        return None
    return int.from_bytes(start[16:20], "big"), int.from_bytes(start[20:24], "big")


def kilopixel_steps(width: int, height: int, steps: int) -> int:
    """The work that was done."""
    return math.ceil(width * height * steps / 1000)


def frames(created: int, images: int, took: Mapping[str, float]) -> list[bytes]:
    """OpenAI's answer, but for the images: what stands before the first, between them, and after the last.

    Args:
        created: when, in seconds since 1970.
        images: how many.
        took: the answer's last member, `herd`: what the images took.
    """
    pieces = [b'"},{"b64_json":"'] * (images + 1)
    pieces[0] = b'{"created":%d,"data":[{"b64_json":"' % created
    pieces[-1] = b'"}],"output_format":"png","herd":%s}' % orjson.dumps(dict(took))
    return pieces
