"""What an agent does at its router's command: load a model, let one go, and know its owner's week."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from herd.actors.desk import ShownWeek
from herd.actors.ports import ModelServers
from herd.errors import HerdError
from herd.policy.edits import FOR_EVER
from herd.protocols.fitness import sentence
from herd.protocols.messages import Command, Result
from herd.protocols.speech_servers import QWEN_ASR_HERE, QWEN_ASR_LOAD, QWEN_ASR_UNLOAD
from herd.protocols.untrusted import MAX_MODEL_NAME
from herd.types import BackendId, BackendKind, Seconds, Tokens

logger = logging.getLogger(__name__)

LOAD, UNLOAD, WEEK = "load", "unload", "week"
# What an agent that obeys `Commands` says of itself in its hello: no older one is told what it would refuse.
CAPABILITIES = (WEEK,)

HOURS = 168  # of a week
MAX_KEEP_ALIVE = 2**31  # seconds: 68 years, which Ollama's nanoseconds hold

LOAD_S = Seconds(300.0)  # Ollama itself gives a load up after as long
# A model that still answers goes when it is done, and Ollama says so at once.
UNLOAD_S = Seconds(30.0)


class _RefusedError(Exception):
    """Why the command is not carried out."""


@dataclass(frozen=True, slots=True)
class _Order:
    """A command that makes sense."""

    backend: BackendId
    model: str
    keep_alive: float = 0
    num_ctx: Tokens | None = None


class Commands:
    """Carries commands out on the model servers beside the agent; implements the port `Obey`.

    Args:
        base_urls: the model servers by id.
        servers: the HTTP client.
        kind_of: which program a model server is, a `BackendKind`; empty while it does not answer.
        changed: told when a model server has done something, so that it is looked at soon.
        week: told what the router has learned of the owner of this machine; None: nobody wants to know.
    """

    def __init__(
        self,
        base_urls: Mapping[BackendId, str],
        servers: ModelServers,
        kind_of: Callable[[BackendId], Awaitable[str]],
        changed: Callable[[BackendId], None],
        week: Callable[[ShownWeek], None] | None = None,
    ) -> None:
        self._base_urls = base_urls
        self._servers = servers
        self._kind_of = kind_of
        self._changed = changed
        self._week = week
        self._loading = ""  # what is being loaded: one model at a time, as Ollama does it

    async def __call__(self, command: Command) -> Result:
        """The outcome; cancelled when the link ends, and with it a load that nobody waits for any more."""
        try:
            if command.name == WEEK and self._week is not None:
                self._week(_read_week(command))
                return Result(command.id, True)
            order = _read(command)
            await self._check(order)
            await (self._load(order) if command.name == LOAD else self._have_done(command.name, order, UNLOAD_S))
        except (_RefusedError, HerdError) as error:
            return Result(command.id, False, text=sentence(str(error)))
        return Result(command.id, True)

    async def _check(self, order: _Order) -> None:
        if order.backend not in self._base_urls:
            raise _RefusedError(f"this node has no model server {sentence(order.backend)}")
        kind = await self._kind_of(order.backend)
        if not kind:
            raise _RefusedError("the model server does not answer")
        if kind != BackendKind.OLLAMA and self._base_urls[order.backend] != QWEN_ASR_HERE:
            raise _RefusedError(f"only Ollama loads models on command, and this model server is {kind}")

    async def _load(self, order: _Order) -> None:
        if self._loading:
            raise _RefusedError(f"this node is loading {self._loading} already")
        self._loading = order.model
        try:
            await self._have_done(LOAD, order, LOAD_S)
        finally:
            self._loading = ""

    async def _have_done(self, name: str, order: _Order, timeout: Seconds) -> None:
        """Have the model server load, or let go. Raises HerdError."""
        if self._base_urls[order.backend] != QWEN_ASR_HERE:
            await self._ask(order, timeout)
            return
        body = {"model": order.model, "keep_alive": order.keep_alive}
        url = QWEN_ASR_HERE + (QWEN_ASR_LOAD if name == LOAD else QWEN_ASR_UNLOAD)
        status, answer = await self._servers.fetch(url, body, timeout=timeout)
        self._took(order.backend, status, answer)

    def _took(self, backend: BackendId, status: int, answer: Any) -> None:
        """Look at the outcome. Raises _RefusedError."""
        self._changed(backend)
        if status != 200:
            said = answer.get("error") if isinstance(answer, dict) else None
            raise _RefusedError(str(said) if said else f"the model server answered {status}")

    async def _ask(self, order: _Order, timeout: Seconds) -> None:
        """A request without a prompt: it loads or, with a keep_alive of 0, unloads. Raises HerdError."""
        body: dict[str, Any] = {"model": order.model, "stream": False, "keep_alive": order.keep_alive}
        if order.num_ctx is not None:
            body["options"] = {"num_ctx": order.num_ctx}
        base_url = self._base_urls[order.backend]
        status, answer = await self._servers.fetch(base_url + "/api/generate", body, timeout=timeout)
        if status == 400 and order.keep_alive:
            # A model that only makes vectors "does not support generate", but is loaded to make none.
            body["input"] = []
            status, answer = await self._servers.fetch(base_url + "/api/embed", body, timeout=timeout)
        self._took(order.backend, status, answer)


def _read(command: Command) -> _Order:
    """The command's arguments. Raises _RefusedError when they make no sense."""
    args = command.args
    if command.name not in {LOAD, UNLOAD}:
        raise _RefusedError(f"this agent knows no command {sentence(command.name)!r}: is it older than its router?")
    backend, model = args.get("backend"), args.get("model")
    if not isinstance(backend, str) or not isinstance(model, str) or not 0 < len(model) <= MAX_MODEL_NAME:
        raise _RefusedError(f"{command.name} needs a backend and a model")
    if command.name == UNLOAD:
        return _Order(BackendId(backend), model)
    keep_alive, num_ctx = args.get("keep_alive"), args.get("num_ctx")
    if isinstance(keep_alive, bool) or not isinstance(keep_alive, int | float) or not _lasts(keep_alive):
        raise _RefusedError(f"{LOAD} needs a keep_alive in seconds, or {FOR_EVER} for ever")
    if num_ctx is not None and not (type(num_ctx) is int and num_ctx > 0):
        raise _RefusedError(f"the num_ctx of {LOAD} is a number of tokens")
    return _Order(BackendId(backend), model, keep_alive, Tokens(num_ctx) if num_ctx is not None else None)


def _read_week(command: Command) -> ShownWeek:
    """What is known of each hour. Raises _RefusedError when that makes no sense."""
    load, confidence = command.args.get("load"), command.args.get("confidence")
    if not isinstance(load, list) or not isinstance(confidence, list) or not len(load) == len(confidence) == HOURS:
        raise _RefusedError(f"{WEEK} needs {HOURS} loads, and as many confidences")
    if not all(share is None or _is_share(share) for share in load) or not all(map(_is_share, confidence)):
        raise _RefusedError(f"loads and confidences of {WEEK} are 0 to 1")
    return ShownWeek(tuple(load), tuple(confidence))


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0.0 <= value <= 1.0


def _lasts(keep_alive: float) -> bool:
    return keep_alive == FOR_EVER or 0 < keep_alive <= MAX_KEEP_ALIVE
