"""Model names: when two spellings mean one model.

The grammar is Ollama's, `[host/][namespace/]model[:tag]`; a host may hold a port, so a tag's colon comes after the
last slash. Names of other model servers, such as paths, pass through the same rules unharmed.
"""

from functools import lru_cache

# Spellings that are remembered: every request asks twice, and a house has a few dozen models.
KEPT = 1024

DEFAULT_HOST = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"


def tagged(name: str) -> str:
    """The name with its tag: `x` is `x:latest`. Spelling is kept."""
    name = name.strip()
    _, colon, tag = name.rpartition("/")[2].rpartition(":")
    if tag and colon:
        return name
    return f"{name.removesuffix(':')}:{DEFAULT_TAG}"


@lru_cache(maxsize=KEPT)
def canonical(name: str) -> str:
    """One spelling for all names of a model: lower case, with a tag, without the default host and namespace.

    `X`, `x:latest`, `library/x` and `registry.ollama.ai/library/x` are all `x:latest`.
    """
    parts = tagged(name).lower().split("/")
    if len(parts) == 3 and parts[0] == DEFAULT_HOST:
        del parts[0]
    if len(parts) == 2 and parts[0] == DEFAULT_NAMESPACE:
        del parts[0]
    return "/".join(parts)


def namespace(name: str) -> str:
    """Who publishes a model: `Qwen` for `Qwen/Qwen3`, `library` where the name does not say."""
    parts = name.strip().split("/")
    return parts[-2] if len(parts) > 1 and parts[0] else DEFAULT_NAMESPACE
