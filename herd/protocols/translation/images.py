"""`POST /api/generate-image`, Herd's own, in the words of each server of images.

    {"model": "m", "prompt": "a cat", "width": 1024, "height": 1024, "steps": 9, "guidance": 3.5, "seed": 42,
     "quantize": 8, "negative_prompt": "dogs"}

Only the first two must be there. The answer is the picture. What a server cannot be told is left out, and named to the
client in the header `X-Herd-Ignored`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from herd.errors import RequestError
from herd.protocols.image_servers import EXTRAS, Flavour, ImageWords
from herd.protocols.media import MAX_SIDE, MAX_STEPS, USUAL_SIDE
from herd.protocols.translation.fields import Fields, read_body, written
from herd.types import Api

IGNORED = "X-Herd-Ignored"

STRUCT = "herd.GenerateImageRequest"

# sd-server looks for the block with a regular expression whose stack grows with every letter of it.
MAX_BLOCK = 4_096

# Fields that are not for the server: whom to ask, and how the answer comes.
_NOT_ITS = frozenset(("fallback_models", "stream"))
_OWN = frozenset(("model", "prompt", "width", "height", "keep_alive", *EXTRAS, *_NOT_ITS))
# Names of fields that nobody knows are shown to the client in a header: some of them, and only what may stand there.
_NAME = re.compile(r"[a-z0-9_.-]{1,64}")
_MOST_NAMES = 16


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """What is asked for. None: the server's own default."""

    model: str
    prompt: str
    width: int | None = None
    height: int | None = None
    extras: tuple[tuple[str, Any], ...] = ()  # of `EXTRAS`, those that are given
    keep_alive: Any = None  # as sent
    unknown: tuple[str, ...] = ()  # names of fields that mean nothing here

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height in pixels; None when neither is given."""
        if self.width is None and self.height is None:
            return None
        return self.width or USUAL_SIDE, self.height or USUAL_SIDE


@dataclass(frozen=True, slots=True)
class ImageAsked:
    """The request that a server gets by POST."""

    path: str
    body: bytes
    key: str  # of the picture in the JSON that it answers
    lines: bool  # the answer is lines of JSON, of which the last one has the picture
    ignored: tuple[str, ...] = ()  # what it is not told
    steps: int = 0  # that it is told; 0: none


def read_image_request(body: bytes) -> ImageRequest:
    """Read a body.

    Raises:
        RequestError: 400, in Go's words where a value is of a wrong type.
    """
    fields = read_body(body, STRUCT)
    model = fields.get("model", "").strip()
    if not model:
        raise RequestError("model is required")
    if not fields.get("prompt", "").strip():
        raise RequestError("prompt is required")
    for name, most in (("width", MAX_SIDE), ("height", MAX_SIDE), ("steps", MAX_STEPS)):
        if name in fields and not 0 < fields[name] <= most:
            raise RequestError(f"{name} must be from 1 to {most}")
    return ImageRequest(
        model=model,
        prompt=fields["prompt"],
        width=fields.get("width"),
        height=fields.get("height"),
        extras=tuple((name, fields[name]) for name in EXTRAS if name in fields),
        keep_alive=fields.get("keep_alive"),
        unknown=tuple(name for name in fields if name not in _OWN and _NAME.fullmatch(name))[:_MOST_NAMES],
    )


def asked(request: ImageRequest, words: ImageWords) -> ImageAsked:
    """The same in a server's own words.

    Raises:
        RequestError: 400, it cannot be said in them.
    """
    names = dict(words.names)
    told = {name: value for name, value in request.extras if name in names}
    if words.flavour is Flavour.SDCPP and _BLOCK in request.prompt:
        told = {}  # the client has its own, and the first one counts
    elif words.flavour is Flavour.LOCALAI and "|" in request.prompt:
        told.pop("negative_prompt", None)  # likewise
    ignored = tuple(name for name, _ in request.extras if name not in told)
    if words.flavour is Flavour.OLLAMA:
        path, fields = Api.OLLAMA_GENERATE.value, _for_ollama(request, told)
    else:
        path, fields = Api.IMAGES.value, _for_openai(request)
        fields |= _FORMS[words.flavour](request, told, names)
        ignored += ("keep_alive",) if request.keep_alive is not None else ()
    native = words.flavour is Flavour.OLLAMA
    return ImageAsked(
        path=path,
        body=written(fields),
        key="image" if native else "b64_json",
        lines=native,
        ignored=(*ignored, *request.unknown),
        steps=told.get("steps", 0),
    )


def _for_ollama(request: ImageRequest, told: Fields) -> Fields:
    fields: Fields = {"model": request.model, "prompt": request.prompt}
    given = (("width", request.width), ("height", request.height), ("steps", told.get("steps")))
    fields |= {name: value for name, value in (*given, ("keep_alive", request.keep_alive)) if value is not None}
    return fields | ({"options": {"seed": told["seed"]}} if "seed" in told else {})


def _for_openai(request: ImageRequest) -> Fields:
    fields: Fields = {"model": request.model, "prompt": request.prompt, "n": 1}
    if request.size is not None:
        width, height = request.size
        fields["size"] = f"{width}x{height}"
    return fields | {"response_format": "b64_json"}


def _in_fields(_request: ImageRequest, told: Fields, names: Mapping[str, str]) -> Fields:
    return {names[name]: value for name, value in told.items()}


def _for_localai(request: ImageRequest, told: Fields, names: Mapping[str, str]) -> Fields:
    fields = {names[name]: value for name, value in told.items() if name != "negative_prompt"}
    if "negative_prompt" in told:
        fields["prompt"] = f"{request.prompt}|{told['negative_prompt']}"
    return fields


_BLOCK = "<sd_cpp_extra_args>"


def _for_sdcpp(request: ImageRequest, told: Fields, names: Mapping[str, str]) -> Fields:
    if not told:
        return {}
    own: Fields = {name: told[name] for name in ("seed", "negative_prompt") if name in told}
    sampling: Fields = {names["steps"]: told["steps"]} if "steps" in told else {}
    if "guidance" in told:
        sampling["guidance"] = {names["guidance"]: told["guidance"]}
    # In a string of JSON a letter may be its number, and so nothing in it looks like the end of the block.
    block = written(own | ({"sample_params": sampling} if sampling else {})).replace(b"<", b"\\u003c")
    if len(block) > MAX_BLOCK:
        raise RequestError(f"negative_prompt is longer than the {MAX_BLOCK} bytes that this model's server can be told")
    return {"prompt": f"{request.prompt}{_BLOCK}{block.decode()}</{_BLOCK[1:]}"}


_FORMS = {Flavour.FIELDS: _in_fields, Flavour.LOCALAI: _for_localai, Flavour.SDCPP: _for_sdcpp}
