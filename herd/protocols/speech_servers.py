"""Servers that make text of speech: which of them answers, and what it says of its models.

whisper.cpp            a page at `/` that names where it takes sound, `/health`, and no list of models
                       (https://github.com/ggml-org/whisper.cpp/tree/master/examples/server)
faster-whisper-server  `/openapi.json` and `/health`, and no list of models (https://pypi.org/project/faster-whisper-server)
speaches               a `task` with each model, and the loaded ones at `/api/ps` (https://speaches.ai)
mlx-qwen3-asr          lists its one model under its own name, to those who have its key
                       (https://github.com/moona3k/mlx-qwen3-asr)

Arguments are JSON as parsed, and a page as text. What is missing or of the wrong type counts as "the server does not
say".
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from herd.protocols.image_servers import ModelList
from herd.protocols.messages import ModelInfo
from herd.protocols.openai_servers import read_openai_models
from herd.protocols.untrusted import mapping, text, texts
from herd.types import Api, BackendId, Bytes, Capability, ModelName

PAGE = "/"
HEALTH = "/health"
DESCRIPTION = "/openapi.json"
MODELS = "/v1/models"
LOADED = "/api/ps"

# mlx-qwen3-asr that the agent starts itself when somebody asks, and what its answer says of how long that took.
QWEN_ASR_HERE = "mlx-qwen3-asr://local"
LOAD_SECONDS = "X-Herd-Load-Seconds"
QWEN_ASR_LOAD, QWEN_ASR_UNLOAD = "/load", "/unload"  # `{"model", "keep_alive"}` by POST, to that one alone

# What a server is asked for that names no model of its own: the name that OpenAI's clients send.
NAMELESS = ModelName("whisper-1")

# Hugging Face's words for what a model is for. Who makes speech, or tells speakers apart, has no endpoint here.
_TASKS = {"automatic-speech-recognition": Capability.AUDIO}

_WHISPERCPP = re.compile(r"<title>\s*whisper\.cpp server", re.IGNORECASE)
_TAKES_SOUND_AT = re.compile(r'action="([^"]*)"')

# The models that mlx-qwen3-asr knows, and what they are called in a fleet: in the form of Ollama's names.
QWEN_ASR = {
    "Qwen/Qwen3-ASR-0.6B": ModelName("qwen3-asr:0.6b"),
    "Qwen/Qwen3-ASR-1.7B": ModelName("qwen3-asr:1.7b"),
}


def is_qwen_asr(answers: Mapping[str, Any]) -> bool:
    """Whether mlx-qwen3-asr answered, by how it is: anybody may ask for that."""
    return "queued_jobs" in mapping({HEALTH: answers.get(HEALTH)}, HEALTH)


def is_whispercpp(answers: Mapping[str, Any]) -> bool:
    """Whether whisper.cpp's server answered, by its page."""
    page = answers.get(PAGE)
    return isinstance(page, str) and _WHISPERCPP.search(page) is not None


def has_openai_path(answers: Mapping[str, Any]) -> bool:
    """Whether whisper.cpp takes sound at OpenAI's path, as it does when it was started so."""
    found = _TAKES_SOUND_AT.search(text({PAGE: answers.get(PAGE)}, PAGE))
    return found is not None and found[1].endswith(Api.TRANSCRIPTIONS)


def is_nameless(answers: Mapping[str, Any]) -> bool:
    """Whether a server answered that makes text of speech, and lists no models."""
    listed = answers.get(MODELS)
    if isinstance(listed, dict) and "data" in listed:
        return False
    described = mapping(mapping({DESCRIPTION: answers.get(DESCRIPTION)}, DESCRIPTION), "paths")
    return is_whispercpp(answers) or Api.TRANSCRIPTIONS in described


def paths(answers: Mapping[str, Any]) -> tuple[str, ...]:
    """The endpoints of whisper.cpp, which describes none of them; none for others."""
    return (Api.TRANSCRIPTIONS,) if is_whispercpp(answers) else ()


def lists(answers: Mapping[str, Any]) -> ModelList | None:
    """Where a server of speech is asked for its models, and what reads the answer; None: where others are."""
    if is_nameless(answers):
        return (HEALTH if HEALTH in answers else PAGE if is_whispercpp(answers) else DESCRIPTION), read_nameless
    items = _items(answers.get(MODELS))
    if any(text(item, "task") for item in items):
        return MODELS, read_speaches_models
    return (MODELS, read_qwen_asr_models) if any(_is_qwen_asr(item) for item in items) else None


def says_what_is_loaded(answers: Mapping[str, Any]) -> bool:
    """Whether it is speaches, which has models on its disk that it loads for those who ask."""
    return any(text(item, "task") for item in _items(answers.get(MODELS)))


def read_nameless(_answer: Any, backend: BackendId) -> tuple[ModelInfo, ...]:
    """The one model of a server that answers, and says nothing of models."""
    return (ModelInfo(NAMELESS, backend, capabilities=(Capability.AUDIO,), resident=True),)


def read_speaches_models(answer: Any, backend: BackendId) -> tuple[ModelInfo, ...]:
    """The models on speaches' disk, from `GET /v1/models`. Raises ProtocolError as `read_openai_models` does.

    One for anything but the recognition of speech has the server's own word for it as its capability: nothing that
    can be asked for here needs that.
    """
    tasks = {text(item, "id"): text(item, "task") for item in _items(answer)}
    return tuple(
        replace(model, capabilities=(_TASKS.get(task, task),)) if (task := tasks.get(model.name, "")) else model
        for model in read_openai_models(answer, backend)
    )


def merge_loaded(models: Sequence[ModelInfo], answer: Any) -> tuple[ModelInfo, ...]:
    """The same models with their residency, from speaches' `GET /api/ps`: `{"models": ["org/name"]}`."""
    loaded = texts(answer, "models") if isinstance(answer, dict) else ()
    return tuple(
        model if model.name in loaded else replace(model, resident=False, size_resident=Bytes(0)) for model in models
    )


def read_qwen_asr_models(answer: Any, backend: BackendId) -> tuple[ModelInfo, ...]:
    """The model of mlx-qwen3-asr, by its name in the fleet. Raises ProtocolError as `read_openai_models` does."""
    return tuple(
        replace(model, name=QWEN_ASR.get(model.name, model.name))
        for model in read_openai_models(answer, backend, capabilities=(Capability.AUDIO,))
    )


def _is_qwen_asr(item: dict[str, Any]) -> bool:
    return text(item, "owned_by") == "mlx-qwen3-asr"


def _items(answer: Any) -> list[dict[str, Any]]:
    data = answer.get("data") if isinstance(answer, dict) else None
    return [item for item in data if isinstance(item, dict)] if isinstance(data, list) else []
