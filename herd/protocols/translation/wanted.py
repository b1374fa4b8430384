"""What a client asked for, and what the model server is asked for in its place."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from herd.types import Api


@dataclass(frozen=True, slots=True)
class Wanted:
    """A translated request.

    `api` is the client's, `path` the server's; `body` is None where there is nothing to ask a server: no prompt, no
    input. Then `unload` says that the client wants the model gone, else it wants it loaded.
    """

    api: Api
    model: str
    path: str
    body: bytes | None
    streamed: bool = False
    logprobs: int | None = None  # how many alternatives beside each token; None: no probabilities
    dimensions: int = 0  # of vectors; 0: all
    many: bool = True  # several vectors are asked for
    unload: bool = False
    echoed: Mapping[str, Any] = field(default_factory=dict)  # of the request, what its answer repeats
