"""Names of models as clients write them: `[host[:port]/][namespace/]model[:tag]`, perhaps with the mark of a source."""

import re

from herd.simulation.ollama.asks.ask import OllamaError

_HOST = r"[A-Za-z0-9_][\w.:-]{0,349}"
_NAMESPACE = r"[A-Za-z0-9_][\w-]{0,79}"
_MODEL = _TAG = r"[A-Za-z0-9_][\w.-]{0,79}"
_NAME = re.compile(rf"((({_HOST}/)?{_NAMESPACE}/)?{_MODEL}(:{_TAG})?)", re.ASCII)

_DEFAULT_PARTS = ("registry.ollama.ai/", "library/")

_LOCAL, _REMOTE = (":local",), (":cloud", "-cloud")


def is_name(name: str) -> bool:
    """Whether it can be the name of a model."""
    return _NAME.fullmatch(name) is not None


def canonical(name: str) -> str:
    """The name under which a model is kept: lower case, with its tag, without the default host and namespace."""
    return displayed(name).lower()


def displayed(name: str) -> str:
    """A name as Ollama lists it: with its tag, without the default host and namespace, in the client's spelling."""
    short = name
    for part in _DEFAULT_PARTS:
        if short.lower().startswith(part):
            short = short[len(part) :]
    return short if ":" in short.rpartition("/")[2] else f"{short}:latest"


def local(name: str, *, remote: str) -> str:
    """The name without the mark that forces a local model; `remote` is what a remote one is refused with.

    Raises:
        OllamaError: 403 for a remote model, as the simulated server has no cloud; 400 for both marks.
    """
    base, at_home = _without(name, _LOCAL)
    base, away = _without(base, _REMOTE)
    if away and not at_home:  # they may stand in either order
        base, at_home = _without(base, _LOCAL)
    if away and at_home:
        raise OllamaError(400, f'use either :local or :cloud, not both: "{name}"')
    if away:
        raise OllamaError(403, f"ollama cloud is disabled: {remote}")
    return base


def _without(name: str, suffixes: tuple[str, ...]) -> tuple[str, bool]:
    """The name without the first of these that its tag ends with, and whether it does."""
    for suffix in suffixes:
        base = name[: -len(suffix)]
        # "x-cloud" is an ordinary model; only in a tag does the word say where it is.
        if base and name.lower().endswith(suffix) and (suffix.startswith(":") or ":" in base.rpartition("/")[2]):
            return base, True
    return name, False
