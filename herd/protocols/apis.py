"""Which endpoints each kind of model server has, and which an agent can stand in for.

Since which version Ollama has one is said in its release notes (https://github.com/ollama/ollama/releases).
"""

import re
from collections.abc import Iterable
from typing import Any

from herd.types import Api, BackendKind, Capability, Dialect

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

# Endpoints that are for models of one kind alone.
_CAPABILITIES: dict[str, Capability] = {
    Api.GENERATE_IMAGE: Capability.IMAGE,
    Api.IMAGES: Capability.IMAGE,
    Api.IMAGE_EDITS: Capability.IMAGE,
    Api.TRANSCRIBE: Capability.AUDIO,
    Api.TRANSCRIPTIONS: Capability.AUDIO,
}

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


def own(kind: BackendKind, version: str, description: Any) -> tuple[Api, ...]:
    """The endpoints that a server has by itself, by what is known of its kind and by its own description.

    A server of no known kind has those that it describes, if it describes any: one for images has no chat.

    Args:
        kind: which program it is.
        version: of it.
        description: the answer of `GET /openapi.json`; anything else where there is none.
    """
    known = native(kind, version)
    paths = description.get("paths") if isinstance(description, dict) else None
    if not isinstance(paths, dict):
        return known
    if kind is BackendKind.OPENAI:
        return tuple(api for api in (*_OPENAI, *_YOUNGER) if api in paths) or known
    return (*known, *[api for api in _YOUNGER if api in paths and api not in known])


def only_capability(apis: Iterable[str]) -> tuple[Capability, ...]:
    """What every model of a server can do that has these endpoints; nothing where they leave a choice."""
    kinds = dict.fromkeys(_CAPABILITIES.get(api, Capability.COMPLETION) for api in apis)
    return tuple(kinds) if len(kinds) == 1 and Capability.COMPLETION not in kinds else ()


def of_model(kind: str, apis: tuple[str, ...], capabilities: tuple[str, ...]) -> tuple[str, ...]:
    """Which of a server's endpoints one of its models can be asked at.

    An Ollama that is too young or too old for images has them on its disk all the same, and can do nothing with them.
    """
    if kind != BackendKind.OLLAMA:
        return apis
    if Capability.IMAGE in capabilities and Api.IMAGES not in apis:
        return ()
    if not capabilities:  # it has not said yet: most models are for text
        return tuple(api for api in apis if api not in _CAPABILITIES)
    return apis


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


def elsewhere(kind: BackendKind) -> tuple[Api, ...]:
    """The endpoints that a server has by itself, but at a path of its own: the agent asks there."""
    return (Api.TRANSCRIPTIONS,) if kind is BackendKind.WHISPERCPP else ()


def implied(dialects: Iterable[str]) -> tuple[Api, ...]:
    """What an agent that only names dialects can surely be asked for."""
    return tuple(api for dialect in dialects for api in _IMPLIED.get(dialect, ()))
