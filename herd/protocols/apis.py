"""Which endpoints each kind of model server has, and which an agent can stand in for.

Since which version Ollama has one is said in its release notes (https://github.com/ollama/ollama/releases).
"""

import re
from collections.abc import Iterable
from typing import Any

from herd.types import Api, BackendKind, Dialect

# Everything else that Ollama serves it has had for longer than agents look for it.
_OLLAMA_SINCE = {
    Api.RESPONSES: (0, 13, 3),
    Api.MESSAGES: (0, 14, 0),
    Api.IMAGES: (0, 14, 3),
    Api.IMAGE_EDITS: (0, 15, 0),
    Api.TRANSCRIPTIONS: (0, 20, 0),
}
_OLLAMA_UNTIL = {Api.IMAGES: (0, 32, 5), Api.IMAGE_EDITS: (0, 32, 5)}
_NEWEST = (10**9,)  # beyond every version

_OLLAMA = (
    Api.OLLAMA_CHAT,
    Api.OLLAMA_GENERATE,
    Api.OLLAMA_EMBED,
    Api.OLLAMA_EMBEDDINGS,
    Api.CHAT,
    Api.COMPLETIONS,
    Api.EMBEDDINGS,
    Api.RESPONSES,
    Api.MESSAGES,
    Api.IMAGES,
    Api.IMAGE_EDITS,
    Api.TRANSCRIPTIONS,
)
_OPENAI = (Api.CHAT, Api.COMPLETIONS, Api.EMBEDDINGS)

_YOUNGER = (
    Api.RESPONSES,
    Api.MESSAGES,
    Api.COUNT_TOKENS,
    Api.IMAGES,
    Api.IMAGE_EDITS,
    Api.TRANSCRIPTIONS,
)

_NATIVE: dict[BackendKind, tuple[Api, ...]] = {
    BackendKind.OLLAMA: _OLLAMA,
    BackendKind.LLAMACPP: (*_OPENAI, Api.RESPONSES, Api.MESSAGES, Api.COUNT_TOKENS),
    BackendKind.LMSTUDIO: _OPENAI,
    BackendKind.VLLM: _OPENAI,
    BackendKind.MFLUX: (Api.IMAGES, Api.IMAGE_EDITS),
    BackendKind.QWEN_ASR: (Api.TRANSCRIPTIONS,),
    BackendKind.WHISPERCPP: (Api.TRANSCRIPTIONS,),
    BackendKind.OPENAI: _OPENAI,
}

# An endpoint that is translated -> the one that the server must have itself.
STOOD_IN_FOR: dict[Api, Api] = {
    Api.OLLAMA_CHAT: Api.CHAT,
    Api.OLLAMA_GENERATE: Api.CHAT,
    Api.OLLAMA_EMBED: Api.EMBEDDINGS,
    Api.OLLAMA_EMBEDDINGS: Api.EMBEDDINGS,
    Api.RESPONSES: Api.CHAT,
    Api.MESSAGES: Api.CHAT,
    Api.COUNT_TOKENS: Api.CHAT,
    Api.GENERATE_IMAGE: Api.IMAGES,
    Api.TRANSCRIBE: Api.TRANSCRIPTIONS,
}
OF_HERD = (Api.GENERATE_IMAGE, Api.TRANSCRIBE)  # no server has them by itself
# Nobody but them can say how long a prompt is without answering it.
_COUNTING = frozenset((BackendKind.VLLM,))

# What agents stand for that name dialects only.
_IMPLIED: dict[str, tuple[Api, ...]] = {
    Dialect.OLLAMA: (Api.OLLAMA_CHAT, Api.OLLAMA_GENERATE),
    Dialect.OPENAI: (Api.CHAT,),
    Dialect.ANTHROPIC: (Api.MESSAGES,),
}

_VERSION = re.compile(r"v?(\d{1,9})\.(\d{1,9})\.(\d{1,9})(?!\d)")


def native(kind: BackendKind, version: str) -> tuple[Api, ...]:
    """The endpoints that a server of this kind has by itself. A version that is none (`0.0.0`, a build from source)
    counts as the newest.
    """
    match = _VERSION.match(version)
    if kind is not BackendKind.OLLAMA:
        return _NATIVE[kind]
    number = tuple(map(int, match.groups())) if match else ()
    if not any(number):
        number = _NEWEST
    return tuple(api for api in _OLLAMA if _OLLAMA_SINCE.get(api, number) <= number <= _OLLAMA_UNTIL.get(api, number))


def listed(answer: Any) -> tuple[Api, ...]:
    """Which of the younger endpoints a server's own description has (`GET /openapi.json`); none where it gives none."""
    paths = answer.get("paths") if isinstance(answer, dict) else None
    return tuple(api for api in _YOUNGER if isinstance(paths, dict) and api in paths)


def translated(kind: BackendKind, own: Iterable[Api]) -> tuple[Api, ...]:
    """The endpoints that an agent answers for in front of a server that has its `own` ones only."""
    has = tuple(own)
    # An old Ollama is to be renewed.
    wanted = OF_HERD if kind is BackendKind.OLLAMA else tuple(STOOD_IN_FOR)
    return tuple(
        api
        for api in wanted
        if api not in has and STOOD_IN_FOR[api] in has and (api is not Api.COUNT_TOKENS or kind in _COUNTING)
    )


def implied(dialects: Iterable[str]) -> tuple[Api, ...]:
    """What an agent that only names dialects can surely be asked for."""
    return tuple(api for dialect in dialects for api in _IMPLIED.get(dialect, ()))
