"""The Scorer: whom it wakes when memory, or a place at a model, comes free."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from herd.actors import scorer as scorers
from herd.actors.holding_pen import MAX_HELD
from herd.actors.homes import PinEnd
from herd.actors.scorer import Scorer
from herd.policy.loads import ABANDONED_S
from herd.policy.values import Ask, Memory, ModelView, NodeView
from herd.runtime import ActorHandle, remote, stop
from herd.runtime.testing import virtual_time
from herd.simulation.clock import LoopClock
from herd.store.records import KnownNode
from herd.types import Api, BackendId, Bytes, GiB, ModelName, NodeId, NodeName, NodeState, Seconds, Tokens
from tests.actors.doubles import Witness, ticket, view

ROOM = Memory(Bytes(12 * GiB), Bytes(12 * GiB))
FULL = Memory(Bytes(12 * GiB), Bytes(0))


def ask(model: str, num_ctx: int | None = None) -> Ask:
    return Ask(model, Api.OLLAMA_CHAT, num_ctx=Tokens(num_ctx) if num_ctx else None)


def large(name: str, *, resident: bool = False, context: int = 0, limit: int = 1) -> ModelView:
    """A model of which one fits into `ROOM`."""
    size = Bytes(8 * GiB)
    return ModelView(
        ModelName(name),
        BackendId("ollama"),
        ("ollama",),
        size,
        resident=resident,
        limit=limit,
        context=Tokens(context),
        size_resident=size if resident else Bytes(0),
        apis=("/api/chat",),
    )


def node(name: str, memory: Memory, *models: ModelView) -> NodeView:
    return replace(view(name, {model.name: model for model in models}), memory=memory)


@asynccontextmanager
async def started(*known: KnownNode) -> AsyncIterator[tuple[ActorHandle, ActorHandle]]:
    """A Scorer, and its pen."""
    pen = remote(Witness).options(name="pen").remote()
    scorer = remote(Scorer).options(name="scorer").remote(pen, LoopClock(), None, known)
    yield scorer, pen
    await stop(scorer)
    await stop(pen)


async def woken(pen: ActorHandle) -> list[dict[str, int]]:
    """What the pen was told since the last time."""
    return [dict(args[0]) for _, args in await pen.heard.remote()]


@virtual_time
async def test_the_memory_of_a_load_that_everybody_gave_up_is_there_for_others_when_its_time_is_over() -> None:
    """Nothing else of the node changes: a load that was cancelled leaves no trace in its reports."""
    async with started() as (scorer, pen):
        await scorer.node_changed.remote(node("a", ROOM, large("m"), large("n")))
        assert (await scorer.place.remote(ask("m"), ticket(1))).chosen is not None
        await scorer.released.remote(ticket(1).id)
        assert (await scorer.place.remote(ask("n"), ticket(2))).chosen is None
        assert await woken(pen) == []
        await asyncio.sleep(ABANDONED_S + 0.1)
        assert await woken(pen) == [{"n": 1}]
        assert (await scorer.place.remote(ask("n"), ticket(2))).chosen is not None


@virtual_time
async def test_names_that_clients_make_up_while_a_node_is_missing_are_not_remembered_for_ever() -> None:
    """A node of earlier days may never come back, and until it does any name may be one of its models."""
    pen = remote(Witness).options(name="pen").remote()
    attic = KnownNode(NodeId("attic"), NodeName("attic"), ("old",), Seconds(0.0))
    scorer = Scorer(pen, LoopClock(), None, (attic,))
    for number in range(2 * scorers.MAX_SHORT):
        scorer.place(ask(f"made-up-{number}"), ticket(number))
    latest = f"made-up-{2 * scorers.MAX_SHORT - 1}"
    scorer.node_changed(node("a", ROOM, *(large(name) for name in ("made-up-0", latest))))
    assert await woken(pen) == [{latest: 1}]
    assert scorers.MAX_SHORT >= MAX_HELD  # whoever is held is known
    await stop(pen)


@virtual_time
async def test_a_load_that_ends_wakes_as_many_as_the_model_runs_at_once() -> None:
    async with started() as (scorer, pen):
        there = node("a", ROOM, large("m", limit=3))
        await scorer.node_changed.remote(there)
        await scorer.place.remote(ask("m"), ticket(1))
        await scorer.node_changed.remote(replace(there, state=NodeState.PAUSED))
        for number in (2, 3, 4):
            assert (await scorer.place.remote(ask("m"), ticket(number))).chosen is None
        await scorer.node_changed.remote(node("a", FULL, large("m", resident=True, context=4096, limit=3)))
        assert await woken(pen) == [{"m": 3}]


@virtual_time
async def test_who_waits_for_a_larger_context_is_woken_when_the_models_in_its_way_have_ended() -> None:
    async with started() as (scorer, pen):
        small = replace(large("m", resident=True, context=4096), size_resident=Bytes(4 * GiB), size=Bytes(3 * GiB))
        small = replace(small, kv_per_token=Bytes(2**18))  # 1 GiB for each 4096 tokens
        await scorer.node_changed.remote(node("a", FULL, small, large("n", resident=True, context=4096)))
        assert (await scorer.place.remote(ask("n"), ticket(1))).chosen is not None
        held = await scorer.place.remote(ask("m", num_ctx=16_384), ticket(2))
        assert (held.chosen, held.eliminated[0].reason.kind) == (None, "memory-busy")
        await scorer.released.remote(ticket(1).id)
        assert await woken(pen) == [{"m": 1}]
        assert (await scorer.place.remote(ask("m", num_ctx=16_384), ticket(2))).chosen is not None


@virtual_time
async def test_who_waits_for_the_memory_of_a_pinned_model_is_woken_when_it_may_go() -> None:
    async with started() as (scorer, pen):
        await scorer.node_changed.remote(node("a", FULL, large("m"), large("n", resident=True, context=4096)))
        assert await scorer.pin.remote("n") is PinEnd.DONE
        await scorer.order_homes.remote()
        assert await scorer.pins.remote() == {"n": "a"}
        held = await scorer.place.remote(ask("m"), ticket(1))
        assert (held.chosen, held.eliminated[0].reason.kind) == (None, "memory")
        await scorer.unpin.remote("n")
        assert await woken(pen) == [{"m": 1}]
        assert (await scorer.place.remote(ask("m"), ticket(1))).chosen is not None


@virtual_time
async def test_the_memory_of_a_load_that_failed_is_there_for_the_next_model_of_the_same_request() -> None:
    async with started() as (scorer, _):
        await scorer.node_changed.remote(node("a", ROOM, large("m"), large("n")))
        [first] = await scorer.place_first.remote((ask("m"), ask("n")), ticket(1))
        assert first.chosen.load is not None
        without = replace(ask("m"), excluded=(NodeId("a"),))
        _, second = await scorer.place_first.remote((without, ask("n")), ticket(1))
        assert second.chosen is not None
        assert await scorer.reserved.remote() == {"a": ("n",)}
