"""`POST /v1/images/edits` as a form, which is how OpenAI's clients send it, for Ollama, which takes JSON alone.

{"model": "m", "prompt": "at night", "image": "data:image/png;base64,iVBORw0KGgo...", "size": "512x512"}
"""

import re
from base64 import b64encode

from herd.errors import BodyTooLarge, RequestError
from herd.protocols.multipart import FormReader, PartBegins, PartData
from herd.protocols.translation.fields import written
from herd.types import Bytes, KiB, MiB

# It is held four times over: as it came, as base64, within the JSON, and in the connection's buffers. Photographs of
# telephones have some 10 MiB.
MAX_IMAGE = Bytes(32 * MiB)
MAX_FIELD = 64 * KiB  # a prompt is the longest

_IMAGE = frozenset(("image", "image[]"))
_FIELDS = frozenset(("model", "prompt", "size", "n", "seed", "response_format"))
_NUMBERS = frozenset(("n", "seed"))
_NUMBER = re.compile(r"-?[0-9]{1,18}")
# The kinds that Ollama takes, by their first bytes.
_KINDS = (
    (re.compile(rb"\x89PNG"), "png"),
    (re.compile(rb"\xff\xd8\xff"), "jpeg"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "webp"),
)


class EditForm:
    """The form in pieces of any length: `feed` each, then ask for the `body`.

    Args:
        boundary: of the form.
    """

    def __init__(self, boundary: bytes) -> None:
        self._reader = FormReader(boundary)
        self._fields: dict[str, bytearray] = {}
        self._image = bytearray()
        self._images = 0
        self._into: bytearray | None = None  # where the part that is read goes
        self._most = 0

    def feed(self, data: bytes) -> None:
        """The next bytes.

        Raises:
            RequestError: this is no form, or what it asks for is not to be had of Ollama.
            BodyTooLarge: the picture, or a field, is.
        """
        for event in self._reader.feed(data):
            if isinstance(event, PartBegins):
                self._begin(event.name)
            elif isinstance(event, PartData) and self._into is not None:
                self._into += event.data
                if len(self._into) > self._most:
                    raise BodyTooLarge(
                        f"a part of the form is longer than the {self._most // KiB} KiB that it may have"
                    )

    def body(self) -> bytes:
        """The whole of it as JSON. Raises RequestError: the form is not whole, or has no picture that Ollama takes."""
        self._reader.end()
        if not self._image:
            raise RequestError("image is required")
        kind = next((kind for mark, kind in _KINDS if mark.match(self._image)), None)
        if kind is None:
            raise RequestError("invalid image: this model's server takes PNG, JPEG and WebP")
        fields: dict[str, str | int] = {}
        for name, data in self._fields.items():
            value = data.decode("utf-8", "replace").strip()
            if name not in _NUMBERS:
                fields[name] = value
            elif value:
                fields[name] = _number(name, value)
        return written({**fields, "image": f"data:image/{kind};base64,{b64encode(self._image).decode()}"})

    def _begin(self, name: str) -> None:
        if name in _IMAGE:
            self._images += 1
            if self._images > 1:
                raise RequestError("this model's server changes one picture at a time")
            self._into, self._most = self._image, MAX_IMAGE
        elif name == "mask":
            raise RequestError("this model's server knows no mask")
        elif name in _FIELDS:
            self._fields[name] = self._into = bytearray()
            self._most = MAX_FIELD
        else:
            self._into = None


def _number(name: str, value: str) -> int:
    if not _NUMBER.fullmatch(value):
        raise RequestError(f"{name} must be a whole number")
    return int(value)
