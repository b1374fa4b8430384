"""mflux's commands: what they take, how one is called for a request in OpenAI's form, and what it says while it runs.

As of mflux 0.24.0; what its commands take is read from its own `mflux-capabilities`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import orjson

from herd.errors import ProtocolError, RequestError
from herd.protocols.media import MAX_IMAGES
from herd.protocols.mflux_models import Weights
from herd.protocols.untrusted import entries, text, texts

MAX_PICTURES = 16  # to make one of, as with OpenAI
MAX_PROMPT = 32_000  # characters, likewise
MULTIPLE = 16  # of which the sides of an image are, in pixels
# No model of mflux makes sense of more, and sixteen million pixels are what the largest Mac can hold while it works.
SIDES = range(64, 4096 + 1, MULTIPLE)
MAX_STEPS = 200  # the slowest model takes 100 by itself
MAX_GUIDANCE = 100.0
MAX_SEED = 2**32 - 1 - MAX_IMAGES  # what the random numbers of MLX and of NumPy both take

# Names within a run's own directory.
SIDECAR = "request.json"  # prompts: all users of a machine see the words of a command
OUTPUT = "image.png"

_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d{1,12}(\.\d{0,12})?|\.\d{1,12})", re.ASCII)
# Fields of OpenAI's that would change the image, and that no command of mflux knows.
_UNKNOWN = ("quality", "style", "background", "output_compression", "input_fidelity")
_SIDECAR_OPTIONS = ("--config-from-conf", "--config-from-metadata")


# --- What commands take -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a command."""

    flag: str
    status: str = "honored"  # or "ignored", "rejected", "conditional"
    choices: tuple[str, ...] = ()


_NONE = Option("", "ignored")  # a command does not have it


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an installation of mflux can do."""

    version: str
    commands: Mapping[str, Mapping[str, Option]]  # by command and by flag; aliases are flags too

    def command(self, name: str) -> Mapping[str, Option] | None:
        """What a command takes; None where it is not there, or cannot be told what is private."""
        options = self.commands.get(name) if name else None
        return options if options is not None and any(flag in options for flag in _SIDECAR_OPTIONS) else None


def read_capabilities(document: bytes) -> Capabilities:
    """What `mflux-capabilities --format json` prints.

    Raises:
        ProtocolError: it is no such document.
    """
    try:
        answer = orjson.loads(document)
    except orjson.JSONDecodeError as error:
        raise ProtocolError(
            "mflux does not say what it can do: mflux-capabilities --format json printed none"
        ) from error
    commands = {
        text(entry, "command"): MappingProxyType(_options(entry))
        for entry in entries(answer, "commands", "mflux-capabilities")
        if text(entry, "coverage") == "full"
    }
    return Capabilities(text(answer, "mflux_version"), MappingProxyType(commands))


def _options(entry: dict[str, Any]) -> dict[str, Option]:
    found: dict[str, Option] = {}
    listed = entry.get("options")
    for item in listed if isinstance(listed, list) else ():
        if isinstance(item, dict) and (flag := text(item, "flag")):
            option = Option(flag, text(item, "status"), texts(item, "choices"))
            found |= dict.fromkeys((flag, *texts(item, "aliases")), option)
    return found


# --- What is wished ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wish:
    """A request for images. What is None is for the model to choose."""

    model: str
    prompt: str = field(repr=False)
    negative_prompt: str = field(default="", repr=False)
    count: int = 1
    size: tuple[int, int] | None = None  # width, height
    steps: int | None = None
    guidance: float | None = None
    seed: int | None = None
    quantize: int | None = None
    unheeded: tuple[str, ...] = ()  # fields that nothing will come of


def read_fields(body: bytes) -> dict[str, Any]:
    """The fields of a body of JSON. Raises RequestError."""
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        fields = None
    if not isinstance(fields, dict):
        raise RequestError("the request must be a JSON object")
    return fields


def read_wish(fields: Mapping[str, Any]) -> Wish:
    """The request in the fields of a body for `/v1/images/generations` or `/v1/images/edits`, of JSON or of a form.

    Raises:
        RequestError: 400, with the field that is wrong.
    """
    prompt = _text(fields, "prompt")
    if not prompt.strip():
        raise RequestError("prompt is missing: say what the image is to show")
    for name, only in (("response_format", "b64_json"), ("output_format", "png")):
        if _text(fields, name) not in {"", only}:
            raise RequestError(f'{name} "{_text(fields, name)[:20]}" is not to be had from mflux: only "{only}" is')
    if fields.get("stream") not in (None, False, "", "false", "0"):
        raise RequestError("mflux's images come whole: leave stream out")
    return Wish(
        model=_text(fields, "model"),
        prompt=prompt,
        negative_prompt=_text(fields, "negative_prompt"),
        count=_whole(fields, "n", 1, MAX_IMAGES) or 1,
        size=_size(_text(fields, "size")),
        steps=_whole(fields, "steps", 1, MAX_STEPS),
        guidance=_number(fields, "guidance", 0, MAX_GUIDANCE),
        seed=_whole(fields, "seed", 0, MAX_SEED),
        quantize=_whole(fields, "quantize", 1, 16),
        unheeded=tuple(name for name in _UNKNOWN if fields.get(name) not in (None, "", "auto")),
    )


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RequestError(f"{name} must be a string")
    if len(value) > MAX_PROMPT:
        raise RequestError(f"{name} is longer than {MAX_PROMPT} characters")
    return value


def _number(fields: Mapping[str, Any], name: str, least: float, most: float) -> float | None:
    value = fields.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
    if type(value) not in {int, float} or not least <= value <= most:  # a NaN is neither
        raise RequestError(f"{name} must be a number from {least} to {most}")
    return float(value)


def _whole(fields: Mapping[str, Any], name: str, least: int, most: int) -> int | None:
    value = _number(fields, name, least, most)
    if value is not None and not value.is_integer():
        raise RequestError(f"{name} must be a whole number from {least} to {most}")
    return None if value is None else int(value)


def _size(size: str) -> tuple[int, int] | None:
    if size in {"", "auto"}:
        return None
    match = _SIZE.fullmatch(size)
    if match is None:
        raise RequestError('size must be like "1024x1024", width first')
    sides = int(match[1]), int(match[2])
    if not all(side in SIDES for side in sides):
        raise RequestError(
            f"mflux makes images whose sides are multiples of {MULTIPLE}, from {SIDES[0]} to {SIDES[-1]} pixels: "
            f"size {size} has others"
        )
    return sides


# --- How a command is called ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Run:
    """One call of a command, in a directory of its own."""

    words: tuple[str, ...]
    sidecar: bytes = field(repr=False)  # content of the file SIDECAR
    outputs: tuple[str, ...]  # files that it is to write, in order
    ignored: tuple[str, ...] = ()  # what the request has asked for in vain


def plan(
    capabilities: Capabilities, weights: Weights, wish: Wish, seed: int, pictures: Sequence[str] | None = None
) -> Run:
    """How the images of a request are made.

    Args:
        capabilities: of the installation.
        weights: of the model.
        wish: the request.
        seed: of the first image, where the request names none; those of the others follow it.
        pictures: files to make images of, in the directory; None: of words alone.

    Raises:
        RequestError: 400, this model cannot do that.
    """
    base = weights.base
    command = base.makes if pictures is None else base.edits
    options = capabilities.command(command)
    if options is None:
        raise RequestError(_cannot(capabilities, weights, edit=pictures is not None))
    first = seed if wish.seed is None else wish.seed
    seeds = range(first, first + wish.count)
    words = [command, "--model", weights.source]
    words += ["--base-model", base.name] if weights.saved else []
    words += [next(flag for flag in _SIDECAR_OPTIONS if flag in options), SIDECAR]
    words += ["--seed", *map(str, seeds), "--output", OUTPUT]
    words += ["--no-exif"] if "--no-exif" in options else []  # the prompt would be in the image
    if wish.size is not None:
        words += ["--width", str(wish.size[0]), "--height", str(wish.size[1])]
    if pictures is not None:
        words += _pictures(options, pictures, weights.name)
    settings, ignored = _settings(options, weights, wish)
    private = {"prompt": wish.prompt}
    if wish.negative_prompt and _heeds_negative(options, weights, wish):
        private["negative_prompt"] = wish.negative_prompt
    elif wish.negative_prompt:
        ignored += ("negative_prompt",)
    outputs = tuple(_output(each, wish.count) for each in seeds)
    return Run((*words, *settings), orjson.dumps(private), outputs, (*wish.unheeded, *ignored))


def _settings(options: Mapping[str, Option], weights: Weights, wish: Wish) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The words for what the request sets, and what of that the command would not heed."""
    words: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    for name, value in (("steps", wish.steps), ("guidance", wish.guidance), ("quantize", wish.quantize)):
        option = options.get(f"--{name}", _NONE)
        if value is None:
            continue
        if not _heeded(option, weights) or (name == "guidance" and weights.base.guidance is None):
            ignored += (name,)  # some commands refuse what they say they take, if the model has none
        elif name == "quantize" and option.choices and str(value) not in option.choices:
            raise RequestError(f"quantize must be one of {', '.join(sorted(option.choices))}")
        else:
            words += (option.flag, f"{value:g}")
    return words, ignored


def _heeds_negative(options: Mapping[str, Option], weights: Weights, wish: Wish) -> bool:
    """Where that depends on the model, guidance has to be above 1 too: only then is the image made twice, with and
    without.
    """
    option, usual = options.get("--negative-prompt", _NONE), weights.base.guidance
    if usual is None or not _heeded(option, weights):
        return False
    return option.status == "honored" or (usual if wish.guidance is None else wish.guidance) > 1


def _heeded(option: Option, weights: Weights) -> bool:
    """Conditions are, of all options that matter here, that the model has guidance."""
    return option.status == "honored" or (option.status == "conditional" and weights.base.guidance is not None)


def _output(seed: int, count: int) -> str:
    """Where mflux writes the image of a seed; where it has several, it puts each into the file's name."""
    stem, dot, ending = OUTPUT.rpartition(".")
    return OUTPUT if count == 1 else f"{stem}_seed_{seed}{dot}{ending}"


def _pictures(options: Mapping[str, Option], pictures: Sequence[str], model: str) -> list[str]:
    if not pictures:
        raise RequestError("an edit needs the image that is to be edited")
    if "--image-paths" in options:
        return ["--image-paths", *pictures]
    if len(pictures) > 1:
        raise RequestError(f"{model} edits one image at a time")
    return ["--image-path", *pictures]


def _cannot(capabilities: Capabilities, weights: Weights, *, edit: bool) -> str:
    base, wanted = weights.base, "edit" if edit else "make"
    command = base.edits if edit else base.makes
    if command:
        return f"mflux {capabilities.version} on this node has no command {command} that Herd can use: update mflux"
    other = "makes new images only: /v1/images/generations" if edit else "only edits images: /v1/images/edits"
    return f"{weights.name} cannot {wanted} images; it {other}"
