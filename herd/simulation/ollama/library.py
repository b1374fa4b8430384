"""The models on a simulated server's disk, and the lists that the server gives out."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from herd.simulation.machine.catalog import SimulatedModel
from herd.simulation.ollama.asks.ask import OllamaError
from herd.simulation.ollama.golang import LONGEST_DURATION, format_time
from herd.simulation.ollama.references import canonical, displayed, is_name, local
from herd.simulation.ollama.scheduler import Runner
from herd.types import Capability, Seconds

# When the first model was pulled, 2026-06-01; each further one a day earlier, as the newest is listed first.
_FIRST_MODIFIED = 1_780_272_000.0
_DAY = 86_400.0

# Why a model in the cloud is of no use here.
REMOTE = "remote model is unavailable"


@dataclass(frozen=True, slots=True)
class Stored:
    """One model on the disk."""

    model: SimulatedModel
    modified: float  # seconds since the Unix epoch
    digest: str  # of what it was made of: copies share it


class Library:
    """The models of one server, in the order in which it lists them: newest first."""

    def __init__(self, models: Iterable[SimulatedModel]) -> None:
        self._stored = {
            canonical(model.name): Stored(model, _FIRST_MODIFIED - index * _DAY, model.digest)
            for index, model in enumerate(models)
        }

    def __contains__(self, name: str) -> bool:
        return canonical(name) in self._stored

    def find(self, name: str, *, missing: str) -> SimulatedModel:
        """The model that a client means by `name`; `missing` is the text of the 404.

        Raises:
            OllamaError: 400 for what can be no name, 403 for a model in the cloud, 404 for one that is not here.
        """
        return self._find(name, missing).model

    def add(self, model: SimulatedModel, now: float, digest: str | None = None) -> None:
        """Keep a model, in the place of one of the same name.

        Args:
            model: its name is kept in its spelling.
            now: seconds since the Unix epoch.
            digest: of what it is made of; None for its own.
        """
        self._stored.pop(canonical(model.name), None)
        new = Stored(model, now, digest or model.digest)
        self._stored = {canonical(model.name): new, **self._stored}

    def copy(self, source: str, destination: str, now: float) -> None:
        """Keep a model under another name too. Raises OllamaError, 404."""
        stored = self._find(source, f'model "{source}" not found')
        self.add(replace(stored.model, name=displayed(destination)), now, stored.digest)

    def remove(self, name: str) -> None:
        """Delete a model. Raises OllamaError, 404."""
        stored = self._find(name, f"model '{name}' not found")
        del self._stored[canonical(stored.model.name)]

    def tags(self) -> dict[str, Any]:
        """The body of /api/tags."""
        return {
            "models": [
                {
                    "name": stored.model.name,
                    "model": stored.model.name,
                    "modified_at": format_time(stored.modified),
                    "size": stored.model.size,
                    "digest": stored.digest,
                    "details": _details(stored.model),
                    "capabilities": list(stored.model.capabilities),
                }
                for stored in self._stored.values()
            ]
        }

    def openai_models(self) -> dict[str, Any]:
        """The body of /v1/models."""
        data = [_openai_model(stored) for stored in self._stored.values()]
        return {"object": "list", "data": data or None}  # Go writes an empty list that was never made as null

    def openai_model(self, name: str) -> dict[str, Any]:
        """The body of /v1/models/:model. Raises OllamaError."""
        return _openai_model(self._find(name, *_shown(name)))

    def show(self, name: str) -> dict[str, Any]:
        """The body of /api/show. Raises OllamaError."""
        stored = self._find(name, *_shown(name))
        model = stored.model
        tools = " {{ .Tools }}" if Capability.TOOLS in model.capabilities else ""  # some clients look for the word
        return {
            "modelfile": f"# Simulated\nFROM {model.name}\n",
            "template": f"{{{{ .System }}}}{tools} {{{{ .Prompt }}}}",
            "details": _details(model),
            "model_info": _model_info(model),
            "capabilities": list(model.capabilities),
            "modified_at": format_time(stored.modified),
        }

    def processes(self, runners: Iterable[Runner], now: Seconds, wall: float, *, gpu: bool) -> dict[str, Any]:
        """The body of /api/ps: furthest expiry first. Ollama lists a runner from the moment its load begins.

        Args:
            runners: ready and loading ones.
            now: monotonic seconds, as the runners use them.
            wall: the same moment, in seconds since the Unix epoch.
            gpu: the models are in video memory.
        """
        return {
            "models": [
                {
                    "name": runner.model.name,
                    "model": runner.model.name,
                    "size": runner.size,
                    "digest": self._digest(runner.model),
                    "details": _details(runner.model),
                    "expires_at": format_time(wall + min(runner.expires_at(now) - now, LONGEST_DURATION)),
                    "size_vram": runner.size if gpu else 0,
                    "context_length": runner.num_ctx,
                }
                for runner in sorted(runners, key=lambda runner: -runner.expires_at(now))
            ]
        }

    def _find(self, name: str, missing: str, remote: str = REMOTE) -> Stored:
        """The stored model; `missing` is the text of the 404, `remote` of the 403 for one in the cloud."""
        wanted = local(name, remote=remote)
        if wanted and not is_name(wanted):
            raise OllamaError(400, "invalid model name")
        stored = self._stored.get(canonical(wanted)) if wanted else None
        if stored is None:
            raise OllamaError(404, missing)
        return stored

    def _digest(self, model: SimulatedModel) -> str:
        stored = self._stored.get(canonical(model.name))
        return model.digest if stored is None else stored.digest  # deleted, and still in memory


def _shown(name: str) -> tuple[str, str]:
    """The words for a model whose details cannot be shown: it is missing, or remote."""
    return f"model '{displayed(name)}' not found", "remote model details are unavailable"


def _openai_model(stored: Stored) -> dict[str, Any]:
    return {
        "id": stored.model.name,
        "object": "model",
        "created": int(stored.modified),
        "owned_by": stored.model.name.rpartition("/")[0] or "library",
    }


def _model_info(model: SimulatedModel) -> dict[str, Any]:
    """The metadata of a model's file, under GGUF's names. Layers whose window is short are not told of."""
    head_size = model.kv_per_token // (4 * model.layers * model.kv_heads)  # 2 bytes a number, for a key and a value
    own = {
        "attention.head_count_kv": model.kv_heads,
        "attention.key_length": head_size,
        "attention.value_length": head_size,
        "block_count": model.layers,
        "context_length": model.context,
    }
    if any(model.experts):
        own["expert_count"], own["expert_used_count"] = model.experts
    return {
        "general.architecture": model.family,
        "general.basename": model.name.partition(":")[0],
        **{f"{model.family}.{key}": value for key, value in own.items()},
        "tokenizer.ggml.tokens": None,  # a list, which only a verbose answer spells out
    }


def _details(model: SimulatedModel) -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "gguf",
        "family": model.family,
        "families": [model.family],
        "parameter_size": model.parameter_size,
        "quantization_level": model.quantization,
    }
