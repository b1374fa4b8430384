"""Which models of one server have told what they take per token, and which are to be asked next."""

from collections.abc import Sequence
from dataclasses import replace

from herd.protocols.messages import ModelInfo
from herd.protocols.model_shapes import ModelShape

# Models asked in one round, beside the poll: a house's server has told all of its models within a few seconds, and one
# with 2,000 is not kept busy with questions.
ASKED_A_ROUND = 8
# Rounds, of a poll each, until a model is asked again that did not tell: a minute.
ROUNDS_AFTER_FAILURE = 30


class ShapeBook:
    """What is known, by digest: it never grows beyond the models that the server lists."""

    def __init__(self) -> None:
        self._shapes: dict[str, ModelShape] = {}
        self._failed: dict[str, int] = {}  # and the round from which on they may be asked again
        self._round = 0

    def next_round(self, models: Sequence[ModelInfo]) -> tuple[ModelInfo, ...]:
        """Whom to ask now: at most `ASKED_A_ROUND`, those in memory first; one of each digest."""
        self._round += 1
        unknown: dict[str, ModelInfo] = {}
        for model in models:
            key = _key(model)
            if key not in self._shapes and self._failed.get(key, 0) <= self._round:
                unknown.setdefault(key, model)
        return tuple(sorted(unknown.values(), key=lambda model: not model.resident)[:ASKED_A_ROUND])

    def learned(self, model: ModelInfo, shape: ModelShape) -> None:
        """The model has told."""
        self._shapes[_key(model)] = shape
        self._failed.pop(_key(model), None)

    def failed(self, model: ModelInfo) -> None:
        """The model has not told: it is asked again later."""
        self._failed[_key(model)] = self._round + ROUNDS_AFTER_FAILURE

    def described(self, models: Sequence[ModelInfo]) -> tuple[ModelInfo, ...]:
        """The models, each with what it is known to take."""
        return tuple([self._described(model) for model in models])

    def forget_all_but(self, models: Sequence[ModelInfo]) -> None:
        """These are all that the server has."""
        kept = {_key(model) for model in models}
        self._shapes = {key: shape for key, shape in self._shapes.items() if key in kept}
        self._failed = {key: at for key, at in self._failed.items() if key in kept}

    def _described(self, model: ModelInfo) -> ModelInfo:
        shape = self._shapes.get(_key(model))
        if shape is None:
            return model
        known = replace(
            model,
            kv_per_token=shape.kv_per_token,
            context_max=shape.context_max,
            active_share=shape.active_share,
            capabilities=model.capabilities or shape.capabilities,
        )
        return model if known == model else known


def _key(model: ModelInfo) -> str:
    """A model pulled anew has another digest; a server that names none is taken by its word."""
    return model.digest or model.name
