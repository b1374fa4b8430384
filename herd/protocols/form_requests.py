"""What routing needs to know of a request that is a form with files, from its bytes as they come.

As with JSON, all else is the model server's to judge, and the form goes on as it came.
"""

from dataclasses import dataclass
from typing import Any

from herd.errors import RequestError
from herd.protocols.json_scan import Span
from herd.protocols.media import WAV_HEAD, heard, painted, recorded
from herd.protocols.multipart import (
    FORM,
    MAX_FIELD,
    Event,
    FormReader,
    PartBegins,
    PartData,
    PartEnds,
    boundary_of,
    is_form,
)
from herd.protocols.requests import Routing
from herd.protocols.untrusted import MAX_MODEL_NAME
from herd.types import Api, Capability, Tokens


@dataclass(frozen=True, slots=True)
class _Kind:
    """One endpoint's way with forms."""

    files: tuple[str, ...]  # parts that the file may be in
    what: str  # it is
    need: Capability
    prompted: bool = False  # it has to have a prompt
    always: bool = True  # it takes nothing else
    streams: bool = True  # it answers piece by piece where it is asked to


_KINDS = {
    Api.IMAGE_EDITS: _Kind(("image", "image[]"), "image", Capability.IMAGE, prompted=True, always=False),
    Api.TRANSCRIPTIONS: _Kind(("file",), "audio", Capability.AUDIO),
    Api.TRANSCRIBE: _Kind(("file", "audio"), "audio", Capability.AUDIO, streams=False),
}
TAKE_FORMS = frozenset(_KINDS)  # no other endpoint does
_READ = frozenset(("model", "prompt", "stream", "n", "size", "steps"))
_TRUE = frozenset(("true", "1"))


def comes_as_form(api: Api, content_type: str) -> bool:
    """Whether a request to one of `TAKE_FORMS` is a form, or has to be one: its body is then `FormScan`'s to read."""
    return _KINDS[api].always or is_form(content_type)


class FormScan:
    """One form, in pieces of any length: `feed` each, then `routing`.

    Fields may stand in any order, before the file or after it. Two names of a model are refused: some servers would
    take the first of them and others the last.

    Args:
        api: that is asked, one that `comes_as_form`.
        content_type: of the request.

    Raises:
        RequestError: 400, that is not the type of a form.
    """

    def __init__(self, api: Api, content_type: str) -> None:
        self._kind = _KINDS[api]
        if not is_form(content_type):
            file = f'the {self._kind.what} file in its part "{self._kind.files[0]}"'
            raise RequestError(f"the request must be a form ({FORM}) with {file}")
        self._reader = FormReader(boundary_of(content_type))
        self._fields: dict[str, str] = {}
        self._model_at: Span | None = None
        self._start = b""  # of the first file
        self._size = -1  # of it; below 0: there is none
        self._part = PartBegins("", None, b"", 0)  # the one that is read
        self._value: bytearray | None = None  # of a field that counts

    def feed(self, data: bytes) -> None:
        """Take notice of the next bytes. Raises RequestError as `FormReader.feed` does, or for a second model."""
        for event in self._reader.feed(data):
            self._notice(event)

    def _notice(self, event: Event) -> None:
        match event:
            case PartBegins(name, filename):
                self._part = event
                self._value = bytearray() if filename is None and name in _READ else None
                if name == "model" and self._value is not None and self._model_at is not None:
                    raise RequestError("the form names its model twice")
            case PartData(data):
                if self._value is not None:
                    self._value += data[: MAX_FIELD - len(self._value)]
                elif self._counts and len(self._start) < WAV_HEAD:
                    self._start += data[: WAV_HEAD - len(self._start)]
            case PartEnds(at):
                span = Span(self._part.at, at)
                if self._value is not None:
                    self._fields[self._part.name] = self._value.decode("utf-8", "replace")
                    if self._part.name == "model":
                        self._model_at = span
                elif self._counts:
                    self._size = span.end - span.start

    @property
    def _counts(self) -> bool:
        """Whether the part that is read is the first file."""
        return self._size < 0 and self._part.filename is not None and self._part.name in self._kind.files

    def routing(self) -> Routing:
        """There are no more bytes: what the request asks for.

        Raises:
            RequestError: 400, the form is not whole, or there is no model, no file, or none that can be.
        """
        self._reader.end()
        kind, fields = self._kind, self._fields
        model = fields.get("model", "").strip()
        if not model:
            raise RequestError("model is required")
        if len(model) > MAX_MODEL_NAME:
            raise RequestError("invalid model name")
        if kind.prompted and not fields.get("prompt"):
            raise RequestError("prompt is required")
        if self._size < 0:
            raise RequestError(f'{kind.files[0]} is required: the form has no file in its part "{kind.files[0]}"')
        if not self._size:
            raise RequestError(f"{kind.what} file is empty")
        speech = kind.need is Capability.AUDIO
        amount = heard(self._start, self._size) if speech else painted(_known(fields))
        return Routing(
            model=model,
            streamed=kind.streams and fields.get("stream", "").strip().lower() in _TRUE,
            needs=(kind.need,),
            amount=amount,
            guess=recorded(self._size) if speech and amount is None else Tokens(0),
            model_at=self._model_at,
        )


def _known(fields: dict[str, str]) -> dict[str, Any]:
    """The fields of a form that say how much work it is, without white space."""
    return {name: fields[name].strip() for name in ("n", "size", "steps") if name in fields}
