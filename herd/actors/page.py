"""The web page at /herd/: its files, and what a browser may do with them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files

from herd.protocols.headers import Headers, value_of
from herd.protocols.web_page import FILES, HEADERS, content_type


@dataclass(frozen=True, slots=True)
class PageFile:
    """One of its files."""

    headers: Headers
    tag: str  # its ETag
    body: bytes

    def answer(self, asked: Headers) -> tuple[int, Headers, bytes]:
        """Status, headers and body for whoever asks with such headers: 304 without a body, if it is there already."""
        known = [tag.strip().removeprefix("W/") for tag in value_of(asked, "if-none-match").split(",")]
        if self.tag in known or known == ["*"]:
            return 304, self.headers, b""
        return 200, self.headers, self.body


@cache
def web_page() -> Mapping[str, PageFile]:
    """All of its files by their endpoints' names, read once."""
    return {name: _read(file) for name, file in FILES.items()}


def _read(file: str) -> PageFile:
    body = files("herd").joinpath("web", file).read_bytes()
    tag = f'"{sha256(body).hexdigest()[:32]}"'
    own = (("Content-Type", content_type(file)), ("Content-Length", str(len(body))), ("ETag", tag))
    return PageFile((*own, *HEADERS), tag, body)
