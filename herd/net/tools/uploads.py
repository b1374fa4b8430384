"""What comes with a request to a tool: its fields, and the files of a form, which go to the disk as they come."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Self

from herd.errors import BodyTooLarge, RequestError
from herd.protocols.mflux import MAX_PICTURES, read_fields
from herd.protocols.multipart import FormReader, PartBegins, PartData, PartEnds
from herd.types import KiB, MiB

MAX_JSON = MiB  # a prompt has 32 000 characters at most
# OpenAI takes 50 MB for each picture. The disk holds them for as long as the request waits.
MAX_PICTURE = 50 * MiB
MAX_FIELD = 128 * KiB  # of a form: that prompt, each character in four bytes


async def read_json(body: AsyncIterator[bytes] | None) -> dict[str, Any]:
    """The object in a body.

    Raises:
        RequestError: 400, there is none.
        BodyTooLarge: it is longer than a MiB.
    """
    held = bytearray()
    async for piece in body or _nothing():
        held += piece
        if len(held) > MAX_JSON:
            raise BodyTooLarge(f"the request is longer than {MAX_JSON // MiB} MiB")
    return read_fields(bytes(held))


async def read_form(
    boundary: bytes, body: AsyncIterator[bytes] | None, directory: Path
) -> tuple[dict[str, str], list[str]]:
    """The fields of a form, and the pictures in it by their files' names in `directory`.

    Raises:
        RequestError: 400, it is no form, or has files of other kinds.
        BodyTooLarge: a part of it is.
    """
    reader, form = FormReader(boundary), _Form(directory)
    with form:
        async for piece in body or _nothing():
            for event in reader.feed(piece):
                if not isinstance(event, PartData):
                    form.feed(event)
                elif (file := form.take(event.data)) is not None:
                    await asyncio.to_thread(file.write, event.data)
    reader.end()
    return form.fields, form.pictures


async def _nothing() -> AsyncIterator[bytes]:
    pieces: tuple[bytes, ...] = ()
    for piece in pieces:
        yield piece


class _Form:
    """What there is of a form so far."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._part = PartBegins("", None, b"", 0)
        self._value = bytearray()
        self._size = 0
        self._files = ExitStack()
        self._file: IO[bytes] | None = None
        self.fields: dict[str, str] = {}
        self.pictures: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def feed(self, event: object) -> None:
        """A part begins, or ends."""
        if isinstance(event, PartBegins):
            self._part, self._size, self._value = event, 0, bytearray()
            if event.filename is not None:
                self._open(event.name)
        elif isinstance(event, PartEnds) and self._file is not None:
            self._files.close()
            self._file = None
        elif isinstance(event, PartEnds) and self._part.name:
            self.fields[self._part.name] = self._value.decode("utf-8", "replace")

    def take(self, data: bytes) -> IO[bytes] | None:
        """The file that the data goes to; None where it is a field's and has been taken."""
        self._size += len(data)
        limit = MAX_FIELD if self._file is None else MAX_PICTURE
        if self._size > limit:
            what = self._part.name[:20] or "a part of the form"
            raise BodyTooLarge(f"{what} is longer than {limit // KiB} KiB")
        if self._file is None:
            self._value += data
        return self._file

    def _open(self, name: str) -> None:
        if name not in {"image", "image[]"}:
            other = "a mask" if name == "mask" else f"a file named {name[:20]!r}"
            raise RequestError(f"mflux edits whole images: {other} is of no use to it; send images as image or image[]")
        if len(self.pictures) == MAX_PICTURES:
            raise RequestError(f"an edit takes {MAX_PICTURES} images at most")
        # The kind of a picture mflux sees by its first bytes, whatever the file is called.
        self.pictures.append(f"picture-{len(self.pictures)}.png")
        self._file = self._files.enter_context((self._directory / self.pictures[-1]).open("xb"))
