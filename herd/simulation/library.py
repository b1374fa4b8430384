"""The models on a simulated server's disk: names as clients write them, and the lists that the server gives out."""

import re
from collections.abc import Iterable
from typing import Any

from herd.simulation.asks import OllamaError
from herd.simulation.catalog import SimulatedModel
from herd.simulation.golang import LONGEST_DURATION, format_time
from herd.simulation.scheduler import Runner
from herd.types import Capability, Seconds

# [host[:port]/][namespace/]model[:tag]
_NAME = re.compile(r"([\w.-]+(:\d+)?/)?([\w.-]+/)?[\w.-]+(:[\w.-]+)?", re.ASCII)
_DEFAULT_PARTS = ("registry.ollama.ai/", "library/")

# When the first model was pulled, 2026-06-01; each further one a day earlier, as the newest is listed first.
_FIRST_MODIFIED = 1_780_272_000.0
_DAY = 86_400.0


def canonical(name: str) -> str:
    """The name under which a model is kept: lower case, with its tag, without the default host and namespace."""
    short = name.lower()
    for part in _DEFAULT_PARTS:
        short = short.removeprefix(part)
    return short if ":" in short.rpartition("/")[2] else f"{short}:latest"


class Library:
    """The models of one server, in the order in which it lists them."""

    def __init__(self, models: Iterable[SimulatedModel]) -> None:
        self._models = {canonical(model.name): model for model in models}

    def find(self, name: str, *, missing: str) -> SimulatedModel:
        """The model that a client means by `name`; `missing` is the text of the 404.

        Raises:
            OllamaError: 400 for what can be no name, 404 for a model that is not here.
        """
        if name and not _NAME.fullmatch(name):
            raise OllamaError(400, "invalid model name")
        model = self._models.get(canonical(name)) if name else None
        if model is None:
            raise OllamaError(404, missing)
        return model

    def tags(self) -> dict[str, Any]:
        """The body of /api/tags."""
        return {
            "models": [
                {
                    "name": model.name,
                    "model": model.name,
                    "modified_at": _modified(index),
                    "size": model.size,
                    "digest": model.digest,
                    "details": _details(model),
                    "capabilities": list(model.capabilities),
                }
                for index, model in enumerate(self._models.values())
            ]
        }

    def openai_models(self) -> dict[str, Any]:
        """The body of /v1/models."""
        data = [
            {
                "id": model.name,
                "object": "model",
                "created": int(_FIRST_MODIFIED - index * _DAY),
                "owned_by": model.name.rpartition("/")[0] or "library",
            }
            for index, model in enumerate(self._models.values())
        ]
        return {"object": "list", "data": data or None}  # Go writes an empty list that was never made as null

    def show(self, model: SimulatedModel) -> dict[str, Any]:
        """The body of /api/show."""
        index = list(self._models.values()).index(model)
        tools = " {{ .Tools }}" if Capability.TOOLS in model.capabilities else ""  # some clients look for the word
        return {
            "modelfile": f"# Simulated\nFROM {model.name}\n",
            "template": f"{{{{ .System }}}}{tools} {{{{ .Prompt }}}}",
            "details": _details(model),
            "model_info": {"general.architecture": model.family, f"{model.family}.context_length": model.context},
            "capabilities": list(model.capabilities),
            "modified_at": _modified(index),
        }


def processes(runners: Iterable[Runner], now: Seconds, wall: float, *, gpu: bool) -> dict[str, Any]:
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
                "digest": runner.model.digest,
                "details": _details(runner.model),
                "expires_at": format_time(wall + min(runner.expires_at(now) - now, LONGEST_DURATION)),
                "size_vram": runner.size if gpu else 0,
                "context_length": runner.num_ctx,
            }
            for runner in sorted(runners, key=lambda runner: -runner.expires_at(now))
        ]
    }


def _modified(index: int) -> str:
    return format_time(_FIRST_MODIFIED - index * _DAY)


def _details(model: SimulatedModel) -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "gguf",
        "family": model.family,
        "families": [model.family],
        "parameter_size": model.parameter_size,
        "quantization_level": model.quantization,
    }
