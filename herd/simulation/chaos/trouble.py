"""What goes wrong in a house: each trouble befalls one node (or the router), lasts a while, and is undone."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from herd.policy.orders import Order
from herd.protocols.messages import ModelInfo, Pause, Report
from herd.runtime import ActorDiedError, ActorUnavailableError
from herd.simulation.chaos.between import Owner, Tale
from herd.simulation.chaos.invariants import Observer
from herd.simulation.chaos.shelf import Shelf
from herd.simulation.fleet.house import OLLAMA, House, SimulatedNode
from herd.simulation.fleet.links import InMemoryLinks
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.ollama.faults import Lie
from herd.types import Bytes, ModelName, Seconds

TELL_S = 0.5  # a person tries again
_STATUSES = (404, 500, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class Victim:
    """A node, what stands between it and the router, and what is on its disk."""

    node: SimulatedNode
    owner: Owner
    shelf: Shelf
    models: tuple[str, ...]  # that the machine can run
    memory: Bytes  # that models have, when the owner needs none


@dataclass(frozen=True, slots=True)
class Scene:
    """Where trouble happens."""

    home: House
    observer: Observer
    victims: tuple[Victim, ...]
    models: tuple[str, ...]  # that nodes may have


@dataclass(frozen=True, slots=True)
class Case:
    """One trouble of one node."""

    scene: Scene
    victim: Victim
    dice: random.Random

    @property
    def node(self) -> SimulatedNode:
        return self.victim.node

    @property
    def links(self) -> InMemoryLinks:
        return self.scene.home.links


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of trouble.

    Attributes:
        name: for the log.
        parts: of the node that it takes for itself while it lasts: two troubles of one part would undo each other.
        act: begins it, waits, and undoes it.
        cripples: the node may be of no use while it lasts.
        weight: how likely it is, before a seed has its favourites.
    """

    name: str
    parts: tuple[str, ...]
    act: Callable[[Case], Awaitable[None]]
    cripples: bool = True
    weight: float = 1.0


# --- Processes and machines -------------------------------------------------------------------------------------------


async def _agent_leaves(case: Case) -> None:
    """The agent stops in order."""
    await case.node.stop_agent()
    await asyncio.sleep(case.dice.uniform(0.0, 40.0))
    await case.node.start_agent()


async def _agent_dies(case: Case) -> None:
    """The agent's process is killed: its connections are closed by the system."""
    case.links.cut(case.node.id)
    await _without_a_word(case)
    await asyncio.sleep(case.dice.uniform(0.0, 40.0))
    await case.node.start_agent()


async def _power_fails(case: Case) -> None:
    """The machine is gone without a word, and comes back with nothing in memory."""
    case.node.stop_server()
    await _without_a_word(case)
    await case.node.unload()
    await asyncio.sleep(case.dice.uniform(1.0, 50.0))
    case.node.start_server()
    await case.node.start_agent()


async def _without_a_word(case: Case) -> None:
    """The agent ends, and nobody hears of it."""
    case.links.freeze(case.node.id)
    case.links.unplug(case.node.id)
    await case.node.stop_agent()
    case.links.thaw(case.node.id)


async def _server_stops(case: Case) -> None:
    """The model server's process ends, and is started again: with its models in memory, or without."""
    case.node.stop_server()
    if case.dice.random() < 0.5:
        await case.node.unload()
    await asyncio.sleep(case.dice.choice((case.dice.uniform(0.0, 1.0), case.dice.uniform(1.0, 30.0))))
    case.node.start_server()


async def _wedges(case: Case) -> None:
    """The model server accepts and never answers, until somebody ends it and starts it anew."""
    case.node.ollama.wedge()
    await asyncio.sleep(case.dice.uniform(1.0, 40.0))
    case.node.stop_server()
    await asyncio.sleep(case.dice.uniform(0.0, 3.0))
    case.node.ollama.faults.wedged = False
    case.node.start_server()


async def _sleeps(case: Case) -> None:
    """The lid is closed: everything stands still, perhaps for longer than the router waits."""
    case.links.freeze(case.node.id)
    case.node.ollama.sleep()
    await asyncio.sleep(case.dice.uniform(0.5, 60.0))
    case.node.ollama.wake()
    case.links.thaw(case.node.id)


# --- Links ------------------------------------------------------------------------------------------------------------


async def _flaps(case: Case) -> None:
    """The link breaks, and falls silent for moments, in quick succession."""
    for _ in range(case.dice.randint(1, 8)):
        if case.dice.random() < 0.5:
            case.links.cut(case.node.id)
        else:
            case.links.freeze(case.node.id)
        await asyncio.sleep(case.dice.uniform(0.0, 2.0))
        case.links.thaw(case.node.id)


async def _falls_silent(case: Case) -> None:
    """Nothing passes on the link, and nobody is told."""
    case.links.freeze(case.node.id)
    await asyncio.sleep(case.dice.uniform(0.5, 60.0))
    case.links.thaw(case.node.id)


# --- Answers ----------------------------------------------------------------------------------------------------------


async def _fails(case: Case) -> None:
    """The server refuses the next requests."""
    for _ in range(case.dice.randint(1, 3)):
        case.node.ollama.fail_next(case.dice.choice(_STATUSES), "simulated trouble")


async def _breaks_off(case: Case) -> None:
    """The server dies in the middle of the next answer."""
    case.node.ollama.die_mid_stream(case.dice.randint(0, 30))


async def _lies(case: Case) -> None:
    """The next answer is not what it seems."""
    case.node.ollama.lie_next(case.dice.choice(tuple(Lie)))


# --- Owners, disks, reports -------------------------------------------------------------------------------------------


async def _slows(case: Case) -> None:
    """Everything takes several times as long."""
    case.node.ollama.slow(case.dice.uniform(1.5, 8.0))
    await asyncio.sleep(case.dice.uniform(5.0, 40.0))
    case.node.ollama.slow(1.0)


async def _shares(case: Case) -> None:
    """The owner's programs take a part of the machine."""
    case.node.ollama.share(case.dice.uniform(0.2, 1.0), Bytes(int(case.victim.memory * case.dice.uniform(0.05, 1.0))))
    await asyncio.sleep(case.dice.uniform(5.0, 40.0))
    case.node.ollama.share(1.0, case.victim.memory)


async def _pauses(case: Case) -> None:
    """The owner is in a meeting."""
    case.victim.owner.pause(Pause("meeting", "is paused: its owner is in a meeting", Seconds(case.node.clock.wall())))
    await asyncio.sleep(case.dice.uniform(0.1, 40.0))
    case.victim.owner.pause()


async def _ordered(case: Case) -> None:
    """A person drains or pauses the node, and lets it work again after a while."""
    await _told(case, case.dice.choice((Order.DRAIN, Order.PAUSE)))
    case.scene.observer.ordered(case.node.id, away=True)
    await asyncio.sleep(case.dice.uniform(0.1, 40.0))
    case.scene.observer.ordered(case.node.id, away=False)
    await _told(case, Order.RESUME)


async def _told(case: Case, order: Order) -> None:
    """Until the router has heard it: one that has just begun knows no node."""
    home = case.scene.home
    heard = None
    while heard is None:
        with suppress(ActorDiedError, ActorUnavailableError):  # the router stops
            heard = await home.router.fleet.ordered.remote(str(case.node.id), order) if home.up else None
        if heard is None:
            await asyncio.sleep(TELL_S)


async def _tells_tales(case: Case) -> None:
    """Reports claim that a model is in memory, or on the disk, that is not."""
    case.victim.owner.tell(_tale(case.dice.choice(case.scene.models)))
    await asyncio.sleep(case.dice.uniform(1.0, 30.0))
    case.victim.owner.tell(None)


def _tale(model: str) -> Tale:
    def tale(report: Report) -> Report:
        if not report.backends:
            return report
        claimed = ModelInfo(ModelName(model), OLLAMA, CATALOG[model].size, resident=True)
        others = [replace(one, resident=True) for one in report.models if one.name != model]
        return replace(report, models=(*others, claimed))

    return tale


async def _disk_changes(case: Case) -> None:
    """A model is deleted, and after a while pulled again; or one comes that was not there."""
    node, truth = case.node, case.scene.observer.truth
    there = truth.models(node.id)
    model = case.dice.choice(case.victim.models)
    if model in there and len(there) > 1:
        case.victim.shelf.take_away(model)
        truth.delete(node.id, model, case.scene.home.clock.monotonic())
        await asyncio.sleep(case.dice.uniform(1.0, 60.0))
    case.victim.shelf.put_back(model)
    truth.add(node.id, [model], case.scene.home.clock.monotonic())


# --- Clocks, and the router -------------------------------------------------------------------------------------------


def clock_jumps(scene: Scene, dice: random.Random, unit: float) -> None:
    """A wall clock is set, by some times `unit` seconds.

    The unit is best a whole number: what is written in fractions of seconds then stays as it is.
    """
    scene.observer.counts["clock jumps"] += 1
    one_of_the_nodes = dice.choice(scene.victims).node.clock
    dice.choice((scene.home.clock, one_of_the_nodes)).ahead += unit * dice.choice((-48, -5, -1, 1, 7, 100))


async def router_restarts(scene: Scene, dice: random.Random) -> None:
    """The router stops, in order or in haste, and starts again."""
    scene.home.http.grace = dice.choice((0.0, dice.uniform(0.0, 10.0)))
    scene.observer.counts["router restarts"] += 1
    scene.observer.router_stops()
    await scene.home.restart_router(dice.choice((0.0, dice.uniform(0.0, 20.0))))


BRIEF = 2.5  # a trouble that is over with one answer leaves room for more; and many wait in vain for their request

NODE_FAULTS = (
    Fault("agent leaves", ("agent",), _agent_leaves),
    Fault("agent dies", ("agent", "link"), _agent_dies),
    Fault("power fails", ("agent", "link", "server", "power"), _power_fails),
    Fault("server stops", ("server",), _server_stops),
    Fault("server is wedged", ("server",), _wedges),
    Fault("machine sleeps", ("link", "power"), _sleeps),
    Fault("link flaps", ("link",), _flaps),
    Fault("link falls silent", ("link",), _falls_silent),
    Fault("server fails", (), _fails, cripples=False, weight=BRIEF),
    Fault("answer breaks off", (), _breaks_off, cripples=False, weight=BRIEF),
    Fault("answer lies", (), _lies, cripples=False, weight=BRIEF),
    Fault("machine is slow", ("speed",), _slows, cripples=False),
    Fault("owner shares", ("memory",), _shares, cripples=False),
    Fault("owner pauses", ("owner",), _pauses),
    Fault("told by hand", ("hand",), _ordered),
    Fault("report lies", ("report",), _tells_tales),
    Fault("disk changes", ("disk",), _disk_changes, cripples=False),
)


class Troublemaker:
    """Has faults happen, each part of a node to one at a time.

    Args:
        scene: where.
        faults: of which kinds.
        weights: of each kind.
    """

    def __init__(self, scene: Scene, faults: Sequence[Fault], weights: Sequence[float]) -> None:
        self._scene = scene
        self._faults = faults
        self._weights = weights
        self._taken: dict[tuple[str, str], None] = {}  # node and part
        self._under_way: list[asyncio.Task[None]] = []  # as many as faults are asked for

    def strike(self, dice: random.Random) -> None:
        """A fault befalls a node, if the parts that it takes are free."""
        victim, fault = dice.choice(self._scene.victims), dice.choices(self._faults, self._weights)[0]
        own = random.Random(dice.random())  # noqa: S311 - repeatable, whatever runs beside it
        parts = [(str(victim.node.id), part) for part in fault.parts]
        if any(part in self._taken for part in parts):
            return
        self._taken.update(dict.fromkeys(parts))
        self._scene.observer.counts[fault.name] += 1
        act = self._acted(fault, victim, parts, own)
        self._under_way.append(asyncio.create_task(act, name=f"{fault.name} at {victim.node.id}"))

    async def _acted(self, fault: Fault, victim: Victim, parts: list[tuple[str, str]], dice: random.Random) -> None:
        observer, node, case = self._scene.observer, victim.node.id, Case(self._scene, victim, dice)
        observer.note(f"{fault.name} at {node}")
        if fault.cripples:
            with observer.truth.trouble(node, self._scene.home.clock.monotonic):
                await fault.act(case)
        else:
            await fault.act(case)
        observer.note(f"{fault.name} at {node}: over")
        for part in parts:
            del self._taken[part]

    async def over(self) -> None:
        """Wait until every fault is undone, and take back what waits for a request."""
        if self._under_way:
            await asyncio.wait(self._under_way)
        for task in self._under_way:
            task.result()
        for victim in self._scene.victims:
            victim.node.ollama.heal()
