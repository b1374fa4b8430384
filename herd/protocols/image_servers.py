"""Servers of images: which of them answers, what it says of its models, and in which words it takes what OpenAI's API
has no word for.

sd-server   stable-diffusion.cpp: fields of its own ride in the prompt, between `<sd_cpp_extra_args>` and its end
            (https://github.com/leejet/stable-diffusion.cpp/blob/master/examples/server/api.md)
LocalAI     `step` and `seed` beside OpenAI's fields, and what is not wanted behind a `|` in the prompt
            (https://localai.io/features/image-generation)
Ollama      `width`, `height`, `steps` and `options.seed` at `/api/generate`, from 0.14.3 to 0.32.5
others      what their own description of themselves (`/openapi.json`) lists for the endpoint

Arguments are JSON as parsed. What is missing or of the wrong type counts as "the server does not say".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from herd.protocols.messages import ModelInfo
from herd.protocols.untrusted import entries, mapping, text, texts
from herd.types import Api, BackendId, BackendKind, Capability, ModelName

LOCALAI = "/.well-known/localai.json"
LOCALAI_MODELS = "/v1/models/capabilities"  # since 2026; older ones have OpenAI's list alone
SDCPP = "/sdcpp/v1/capabilities"

# What OpenAI's API has no word for.
EXTRAS = ("steps", "guidance", "seed", "quantize", "negative_prompt")

# Names that servers have for them, those of diffusers among them; the first one that a server lists is meant.
_SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "steps": ("steps", "num_inference_steps", "num_steps", "sample_steps", "step"),
    "guidance": ("guidance", "guidance_scale", "cfg_scale"),
    "seed": ("seed", "image_seed"),
    "quantize": ("quantize",),
    "negative_prompt": ("negative_prompt",),
}
_LEVELS = 3  # of LocalAI's tree of endpoints; it has two
# A description is made of references to its parts; there is one between a body and its fields.
_MOST_REFERENCES = 8

_LOCALAI_CAPABILITIES = {
    "chat": Capability.COMPLETION,
    "completion": Capability.COMPLETION,
    "embeddings": Capability.EMBEDDING,
    "transcript": Capability.AUDIO,
}


class Flavour(StrEnum):
    """In which form a server wants to be told what OpenAI's API has no word for."""

    FIELDS = "fields"  # beside OpenAI's
    SDCPP = "sd-server"
    LOCALAI = "localai"
    OLLAMA = "ollama"


@dataclass(frozen=True, slots=True)
class ImageWords:
    """What one server understands: the names that it has for our `EXTRAS`; those it does not know are not there."""

    flavour: Flavour = Flavour.FIELDS
    names: tuple[tuple[str, str], ...] = ()


# The path of a list of models, and what reads the answer.
ModelList = tuple[str, Callable[[Any, BackendId], tuple[ModelInfo, ...]]]

NO_WORDS = ImageWords()  # of a server that does not say more
_OF_MFLUX = ImageWords(names=tuple((name, name) for name in EXTRAS))
_OF_OLLAMA = ImageWords(Flavour.OLLAMA, (("steps", "steps"), ("seed", "seed")))
_OF_LOCALAI = ImageWords(
    Flavour.LOCALAI, (("steps", "step"), ("seed", "seed"), ("negative_prompt", "the prompt behind a bar"))
)


def is_localai(answers: Mapping[str, Any]) -> bool:
    """Whether LocalAI answered, from what it was asked (path -> JSON): it has Ollama's lists too."""
    said = answers.get(LOCALAI)
    return isinstance(said, dict) and ("endpoints" in said or "version" in said)


def is_sdcpp(answers: Mapping[str, Any]) -> bool:
    """Whether sd-server answered; it stands on LM Studio's port."""
    said = answers.get(SDCPP)
    return isinstance(said, dict) and isinstance(said.get("model"), dict)


def makes_images(answers: Mapping[str, Any]) -> bool:
    """Whether the model of sd-server does; there are some for videos alone."""
    modes = texts(answers[SDCPP], "supported_modes")
    return not modes or "img_gen" in modes


def paths(answers: Mapping[str, Any]) -> tuple[str, ...]:
    """The endpoints of LocalAI or sd-server, of those that they have beside others' too."""
    if is_sdcpp(answers):
        return (Api.IMAGES, Api.IMAGE_EDITS)
    # A tree of names whose leaves are paths; every LocalAI of the last years has the first of them.
    found: list[str] = [Api.CHAT, Api.COMPLETIONS, Api.EMBEDDINGS, Api.IMAGES, Api.TRANSCRIPTIONS]
    within = [mapping(answers[LOCALAI], "endpoints")]
    for _ in range(_LEVELS):
        found += [value for holder in within for value in holder.values() if isinstance(value, str)]
        within = [value for holder in within for value in holder.values() if isinstance(value, dict)]
    return tuple(found)


def lists(answers: Mapping[str, Any]) -> ModelList | None:
    """Where LocalAI or sd-server says more of its models than others do, and what reads it; None: nowhere."""
    if is_sdcpp(answers):
        return SDCPP, read_sdcpp_models
    if is_localai(answers) and isinstance(answers.get(LOCALAI_MODELS), dict):
        return LOCALAI_MODELS, read_localai_models
    return None


def image_words(kind: BackendKind, answers: Mapping[str, Any], description: Any) -> ImageWords:
    """What a server of images understands.

    Args:
        kind: which program it is.
        answers: to the questions by which it was recognised.
        description: of itself, from `GET /openapi.json`; anything else where it gives none.
    """
    if kind is BackendKind.MFLUX:
        return _OF_MFLUX
    if kind is BackendKind.OLLAMA:
        return _OF_OLLAMA
    if is_localai(answers):
        return _OF_LOCALAI
    if is_sdcpp(answers):
        return _words_of_sdcpp(answers[SDCPP])
    return ImageWords(names=_described_names(description))


def _words_of_sdcpp(answer: dict[str, Any]) -> ImageWords:
    """A model that is guided by itself is run with the other guidance switched off, which is 1: so is its default."""
    defaults = mapping(mapping(answer, "defaults_by_mode"), "img_gen") or mapping(answer, "defaults")
    guidance = mapping(mapping(defaults, "sample_params"), "guidance")
    name = "distilled_guidance" if guidance.get("txt_cfg") == 1 else "txt_cfg"
    own = (("seed", "seed"), ("negative_prompt", "negative_prompt"))
    return ImageWords(Flavour.SDCPP, (("steps", "sample_steps"), ("guidance", name), *own))


def _described_names(description: Any) -> tuple[tuple[str, str], ...]:
    fields = _fields_of_body(description) if isinstance(description, dict) else {}
    found = ((name, next((word for word in words if word in fields), "")) for name, words in _SYNONYMS.items())
    return tuple((name, word) for name, word in found if word)


def _fields_of_body(description: dict[str, Any]) -> dict[str, Any]:
    """The properties of the JSON that the endpoint takes, by the server's own schema."""
    operation = mapping(mapping(mapping(description, "paths"), Api.IMAGES), "post")
    content = mapping(mapping(operation, "requestBody"), "content")
    schema = mapping(mapping(content, "application/json"), "schema")
    for _ in range(_MOST_REFERENCES):
        if not (reference := text(schema, "$ref")).startswith("#/"):
            break
        schema = description
        for part in reference[2:].split("/"):
            schema = mapping(schema, part)
    return mapping(schema, "properties")


def read_localai_models(answer: Any, backend: BackendId) -> tuple[ModelInfo, ...]:
    """The models that LocalAI lists at `LOCALAI_MODELS`; its words that Ollama has none for are kept.

    Raises:
        ProtocolError: the answer has no list of models.
    """
    return tuple(
        ModelInfo(
            name=ModelName(text(item, "id")),
            backend=backend,
            capabilities=tuple(
                dict.fromkeys(_LOCALAI_CAPABILITIES.get(word, word) for word in texts(item, "capabilities"))
            ),
            resident=True,
        )
        for item in entries(answer, "data", "LocalAI")
        if text(item, "id")
    )


def read_sdcpp_models(answer: Any, backend: BackendId) -> tuple[ModelInfo, ...]:
    """The one model of sd-server, by the name of its file: at `/v1/models` it is called the same whichever it is.

    Whichever name a request has, it is the model that answers.
    """
    model = mapping(answer, "model") if isinstance(answer, dict) else {}
    name = text(model, "stem") or text(model, "name") or "sd-cpp-local"
    return (ModelInfo(ModelName(name), backend, capabilities=(Capability.IMAGE,), resident=True),)
