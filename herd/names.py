"""Model names: when two spellings mean one model, what else the fleet's owner calls it, and who stands in for it.

The grammar is Ollama's, `[host/][namespace/]model[:tag]`; a host may hold a port, so a tag's colon comes after the
last slash. Names of other model servers, such as paths, pass through the same rules unharmed.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType

# Spellings that are remembered: every request asks twice, and a house has a few dozen models.
KEPT = 1024

# Ollama allows 80 characters for each of a name's four parts, a path of a GGUF file may be 255 long. The name stands in
# logs, errors and tables, so it has to end somewhere.
MAX_NAME = 512
# Aliases, and models with fallbacks: far more than anybody writes down. Each alias stands in every list of models.
MAX_ALIASES = 256
# Models that may stand in for one. Whether a node can serve it is asked for each of them, of every node, in one step.
MAX_FALLBACKS = 8

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


class Names:
    """What the owner of a fleet calls its models, and which of them stand in for which.

    Names are compared as `canonical` has them. An alias goes before a model that a node lists under the same name: what
    it means does not depend on who is there.

    Args:
        aliases: names, each with the model, or another alias, that it means.
        fallbacks: models or aliases, each with those that stand in for it, the first choice first.

    Raises:
        ValueError: a name is empty, too long or comes twice, an alias leads back to itself, or there are too many.

    Attributes:
        aliases: what each alias means, by the alias in the owner's spelling: canonical names of models.
    """

    def __init__(
        self,
        aliases: Mapping[str, str] = MappingProxyType({}),
        fallbacks: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> None:
        _check(aliases, fallbacks)
        means = {canonical(alias): canonical(model) for alias, model in aliases.items()}
        lists = {canonical(name): tuple(others) for name, others in fallbacks.items()}
        self._models: dict[str, str] = {}
        self._fallbacks = lists.copy()
        for alias in means:
            path = _path(alias, means)
            self._models[alias] = path[-1]
            nearest = next((lists[name] for name in path if name in lists), None)
            if nearest is not None:
                self._fallbacks[alias] = nearest
        self.aliases: Mapping[str, str] = {alias: self._models[canonical(alias)] for alias in aliases}

    def resolve(self, name: str) -> str:
        """The model that a name means: canonical if the name is an alias, else the name as it is."""
        return self._models.get(canonical(name), name)

    def chain(self, sent: str, own: Sequence[str] | None = None) -> tuple[str, ...]:
        """The models that may serve a request, the first choice first: canonical names, each once, never none.

        Fallbacks have none of their own: what stands in for them when they are asked for does not count here.

        Args:
            sent: the model as the client named it.
            own: the fallbacks that the request itself names, which then are all there are; None when it names none.
        """
        name = canonical(sent)
        others = self._fallbacks.get(name, ()) if own is None else own
        model = self._models.get(name, name)
        if not others:
            return (model,)
        return tuple(dict.fromkeys((model, *[canonical(self.resolve(other)) for other in others])))


def _check(aliases: Mapping[str, str], fallbacks: Mapping[str, Sequence[str]]) -> None:
    for what, table in (("aliases", aliases), ("models with fallbacks", fallbacks)):
        if len(table) > MAX_ALIASES:
            raise ValueError(f"there are {len(table)} {what}: at most {MAX_ALIASES} can be")
        first: dict[str, str] = {}
        for name in table:
            _check_name(name, "a name")
            other = first.setdefault(canonical(name), name)
            if other != name:
                raise ValueError(f'"{other}" and "{name}" are the same name: leave one of them out')
    for alias, model in aliases.items():
        _check_name(model, f'what "{alias}" means')
    for name, others in fallbacks.items():
        if not 1 <= len(others) <= MAX_FALLBACKS:
            raise ValueError(f'"{name}" has {len(others)} fallbacks: name 1 to {MAX_FALLBACKS}')
        for other in others:
            _check_name(other, f'a fallback of "{name}"')


def _check_name(name: str, what: str) -> None:
    if not name.strip():
        raise ValueError(f"{what} is empty")
    if len(name) > MAX_NAME:
        raise ValueError(f"{what} is longer than {MAX_NAME} characters: {name[:40]}...")
    if not name.isprintable():
        raise ValueError(f"{what} has characters that cannot be printed: {name!r}")


def _path(alias: str, means: Mapping[str, str]) -> list[str]:
    """An alias, what it means, what that means, and so on to the model. Raises ValueError when it never ends."""
    path = [alias]
    while path[-1] in means:
        after = means[path[-1]]
        if after in path:
            raise ValueError(f'the alias "{alias}" leads in a circle: {" -> ".join([*path, after])}')
        path.append(after)
    return path
