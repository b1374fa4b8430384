"""The models that mflux runs: which command does it, and whose weights on the disk are which.

As mflux 0.24.0 has them in its registry of models and in its commands; `mflux-capabilities` tells what commands take,
but not which models they are for. Left out are those whose repository holds several models, or not all that they need.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

_PARTS = ("transformer", "vae")


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model of mflux's registry."""

    name: str  # as `--model` takes it
    repository: str  # on Hugging Face
    makes: str = ""  # the command that makes images from words alone; empty: none
    edits: str = ""  # the one that changes images
    guidance: float | None = None  # what it is by itself; None: the model has none, whatever its command is told
    parts: tuple[str, ...] = _PARTS  # directories in its repository which all have weights; empty: the top one


def _flux1(name: str, repository: str, guidance: float | None) -> KnownModel:
    return KnownModel(name, f"black-forest-labs/{repository}", "mflux-generate", guidance=guidance)


def _flux2(name: str, repository: str, guidance: float | None = None) -> KnownModel:
    commands = "mflux-generate-flux2", "mflux-generate-flux2-edit"
    return KnownModel(name, f"black-forest-labs/{repository}", *commands, guidance)


def _flux3(name: str, repository: str, guidance: float | None = None) -> KnownModel:
    commands = "mflux-generate-flux3", "mflux-generate-flux3-edit"
    return KnownModel(name, f"black-forest-labs/{repository}", *commands, guidance)


def _qwen21(name: str, repository: str, guidance: float | None = None) -> KnownModel:
    commands = "mflux-generate-qwen-2.1", "mflux-generate-qwen-2.1-edit"
    return KnownModel(name, f"Qwen/{repository}", *commands, guidance)


_ALL = (
    _flux1("schnell", "FLUX.1-schnell", None),
    _flux1("dev", "FLUX.1-dev", 3.5),
    _flux1("krea-dev", "FLUX.1-Krea-dev", 3.5),
    KnownModel("dev-kontext", "black-forest-labs/FLUX.1-Kontext-dev", "", "mflux-generate-kontext", 2.5),
    _flux2("flux2-klein-4b", "FLUX.2-klein-4B"),
    _flux2("flux2-klein-9b", "FLUX.2-klein-9B"),
    _flux2("flux2-klein-9b-kv", "FLUX.2-klein-9b-kv"),
    _flux2("flux2-klein-base-4b", "FLUX.2-klein-base-4B", 1.0),
    _flux2("flux2-klein-base-9b", "FLUX.2-klein-base-9B", 1.0),
    _flux3("flux3-image-klein", "flux-3-image-klein"),
    _flux3("flux3-image-klein-base", "flux-3-image-klein-base", 3.5),
    KnownModel("z-image-turbo", "Tongyi-MAI/Z-Image-Turbo", "mflux-generate-z-image-turbo"),
    KnownModel("z-image", "Tongyi-MAI/Z-Image", "mflux-generate-z-image", guidance=0.0),
    KnownModel("qwen-image", "Qwen/Qwen-Image-2512", "mflux-generate-qwen", guidance=3.5),
    KnownModel("qwen-image-edit", "Qwen/Qwen-Image-Edit-2509", "", "mflux-generate-qwen-edit", 2.5),
    KnownModel("qwen-image-edit-2511", "Qwen/Qwen-Image-Edit-2511", "", "mflux-generate-qwen-edit", 2.5),
    _qwen21("qwen-image-2.1", "Qwen-Image-2.1", 1.0),
    _qwen21("qwen-image-2.1-turbo", "Qwen-Image-2.1-Turbo"),
    KnownModel("ernie-image", "baidu/ERNIE-Image", "mflux-generate-ernie-image", guidance=4.0),
    KnownModel("ernie-image-turbo", "baidu/ERNIE-Image-Turbo", "mflux-generate-ernie-image-turbo"),
    KnownModel("krea-2", "krea/Krea-2-Turbo", "mflux-generate-krea2", guidance=1.0, parts=("", "vae", "text_encoder")),
    KnownModel("ideogram-4-fp8", "ideogram-ai/ideogram-4-fp8", "mflux-generate-ideogram4"),
    KnownModel("boogu-image-turbo", "Boogu/Boogu-Image-0.1-Turbo", "mflux-generate-boogu"),
    KnownModel("ming-image-design", "inclusionAI/Ming-Image-0.1-Design", "mflux-generate-ming", guidance=1.0),
    KnownModel("moss-image-sft", "OpenMOSS-Team/MOSS-Image-SFT", "mflux-generate-moss-image", guidance=3.0),
    KnownModel("moss-image-base", "OpenMOSS-Team/MOSS-Image-Base", "mflux-generate-moss-image", guidance=3.0),
)
KNOWN: Mapping[str, KnownModel] = MappingProxyType({model.name: model for model in _ALL})
_BY_REPOSITORY = {model.repository.lower(): model for model in _ALL}
# How the names of what is made of a model begin: with its own name, or with that of its repository.
_STEMS = sorted(
    [(stem, model) for model in _ALL for stem in {model.name, model.repository.rpartition("/")[2].lower()}],
    key=lambda item: (-len(item[0]), item[0]),
)
_CACHED = "models--"  # what a repository's directory in Hugging Face's cache begins with


@dataclass(frozen=True, slots=True)
class Weights:
    """A model that may be run, as its directory is called."""

    name: str  # as it is listed, and asked for
    base: KnownModel
    source: str  # what `--model` is told
    saved: bool  # by `mflux-save`, perhaps quantized: then `--base-model` says what of


def cached(directory: str) -> Weights | None:
    """Whose weights a directory in Hugging Face's cache holds (`models--ORGANISATION--NAME`); None where no model that
    mflux runs has them.

    Repositories of other people hold what `mflux-save` wrote; they have "mflux" in their names, and begin them with the
    model's.
    """
    if not directory.startswith(_CACHED):
        return None
    organisation, _, name = directory.removeprefix(_CACHED).partition("--")
    repository = f"{organisation}/{name}"
    if known := _BY_REPOSITORY.get(repository.lower()):
        return Weights(known.name, known, known.name, saved=False)
    base = _stem(name)
    return Weights(repository, base, repository, saved=True) if base is not None and name else None


def saved(directory: str, path: str) -> Weights | None:
    """The same of a directory that `mflux-save` wrote at `path`: `schnell-mflux-q4`."""
    base = _stem(directory)
    return Weights(directory, base, path, saved=True) if base is not None else None


def _stem(name: str) -> KnownModel | None:
    lowered = name.lower()
    if "mflux" not in lowered:
        return None
    for stem, model in _STEMS:
        if lowered.startswith(stem) and not lowered[len(stem) :][:1].isalnum():
            return model
    return None
