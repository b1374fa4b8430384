"""Chaos: a house in which much goes wrong at once, by a seed, and what must be so all the same.

    for seed in range(1000):
        result = chaos(seed)
        assert not result.violations, told(result)

The router and the agents are production ones, in virtual time. A seed decides everything: the machines, the models, who
asks for what, and what goes wrong when; some seeds are calm, and some are wild.
"""

import asyncio
import logging
import math
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from herd.actors.ports import Handler
from herd.runtime.testing import run_virtual
from herd.simulation.chaos.between import Owner
from herd.simulation.chaos.crowd import Crowd
from herd.simulation.chaos.invariants import Invariant, Observer
from herd.simulation.chaos.overhearing import OverheardLinks, recorded
from herd.simulation.chaos.shelf import Shelf
from herd.simulation.chaos.trouble import (
    NODE_FAULTS,
    Scene,
    Troublemaker,
    Victim,
    clock_jumps,
    router_restarts,
)
from herd.simulation.chaos.truth import SETTLED_S
from herd.simulation.fleet.house import House, house
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.profiles import PROFILES
from herd.types import NodeId, NodeState, ScorerKind, Seconds

NAMES = ("attic", "cellar", "den", "hall")
MACHINES = ("mac-studio", "gaming-pc", "mini-pc", "macbook-air")
MODELS = ("llama3.2:3b", "gemma3:4b", "qwen3:8b", "qwen3:30b")

# Mean seconds between two troubles of the whole house: never, now and then, and more than a person could bear.
CALMNESS = (math.inf, 20.0, 8.0, 4.0, 2.0, 2.0, 1.0, 1.0)
WEIGHTS = (0.0, 1.0, 1.0, 3.0)  # of a kind of trouble: a seed has its own favourites
RESTARTS = (math.inf, math.inf, 60.0, 25.0)
CLOCK_JUMPS_S = 8.0
HOUR_S = 3600.0
BURST = (5, 20)  # clients that come in the same moment
PROGRESS_S = (0.0, 0.1, 0.5)  # between two writes of a stream: one a token costs the most

# When all is well again, every answer is there within so long: a hundred short answers of the slowest machine one after
# another, and the hold time, twice over.
ENDS_S = 600.0
TOO_LONG_S = 7200.0  # virtual; a scenario that waits in vain ends at some time


@dataclass(frozen=True, slots=True)
class Chaos:
    """What came of a seed.

    Attributes:
        violations: invariants that did not hold, with the facts; empty when all is well.
        log: what happened and what was decided, with virtual times: the same for the same seed, byte for byte.
        counts: requests by outcome, and troubles by kind.
    """

    seed: int
    violations: tuple[str, ...]
    log: tuple[str, ...]
    counts: Mapping[str, int]
    scorer: ScorerKind = ScorerKind.SEVEN_SIGNALS


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a seed decides at once."""

    length: float  # seconds of trouble
    requests: int
    burstiness: float  # share of requests that come in bursts
    restless: float  # share of clients that hang up
    calm: float  # mean seconds between two troubles
    restarts: float  # mean seconds between two restarts of the router
    weights: tuple[float, ...]  # of the kinds of trouble


def chaos(seed: int, *, clocks: bool = True, scorer: ScorerKind = ScorerKind.SEVEN_SIGNALS) -> Chaos:
    """Run one scenario in virtual time. What is violated is in the result: nothing is raised for it.

    Args:
        seed: of everything.
        clocks: wall clocks jump; without, the same is decided.
        scorer: what the router ranks nodes by.
    """
    observer = Observer()
    failures = _Failures()
    logger = logging.getLogger("herd")
    logger.addHandler(failures)
    try:
        # The queue of a model that is deleted goes at once: whoever waited there tells it in vain that it is no more.
        story = _story(seed, observer, clocks=clocks, scorer=scorer)
        run_virtual(story, allow_lost=True, shuffle=seed if seed % 2 else None)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding about this seed
        failures.lines.append(f"the scenario failed: {type(error).__name__}: {error}")
    finally:
        logger.removeHandler(failures)
    violations = [*observer.violations, *(f"invariant {Invariant.CRASH}: {line}" for line in failures.lines)]
    counts = MappingProxyType(dict(sorted(observer.counts.items())))
    return Chaos(seed, tuple(violations), tuple(observer.log), counts, scorer)


def replay(seed: int, scorer: ScorerKind = ScorerKind.SEVEN_SIGNALS) -> str:
    """The command that shows what this seed does."""
    command = f"herd simulate --chaos 1 --seed {seed}"
    return command if scorer is ScorerKind.SEVEN_SIGNALS else f"{command} --scorer {scorer}"


def told(result: Chaos) -> str:
    """What a person should know of a seed: what was violated, and how to see it again."""
    if not result.violations:
        return f"seed {result.seed}: all invariants hold"
    return "\n".join([f"seed {result.seed}, see `{replay(result.seed, result.scorer)}`:", *result.violations])


class _Failures(logging.Handler):
    """What Herd itself calls an error: an actor that crashed, an exception that nobody expected."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if len(self.lines) < 10:  # the first ones say it all
            cause = f": {record.exc_info[1]!r}" if record.exc_info else ""
            self.lines.append(f"{record.name}: {record.getMessage()}{cause}")


async def _story(seed: int, observer: Observer, *, clocks: bool, scorer: ScorerKind) -> None:
    async with house(seed=seed, links=OverheardLinks(observer), scorer=scorer) as home:
        scene = await _furnished(home, observer, _dice(seed, "house"))
        plan = _plan(_dice(seed, "plan"))
        crowd = Crowd(home, observer, scene.models, plan.restless)
        trouble = Troublemaker(scene, NODE_FAULTS, plan.weights)
        jumping = _clocks(scene, _dice(seed, "clocks"), HOUR_S if clocks else 0.0)  # the same timers, either way
        beside = [
            asyncio.create_task(observer.watch(home), name="watch"),
            asyncio.create_task(jumping, name="clocks"),
        ]
        try:
            async with asyncio.timeout(TOO_LONG_S):
                async with asyncio.TaskGroup() as group:
                    group.create_task(_requests(crowd, plan, _dice(seed, "requests")))
                    group.create_task(_troubles(trouble, plan, _dice(seed, "trouble")))
                    group.create_task(_lives(scene, plan, _dice(seed, "router")))
                await _healed(scene, trouble, crowd)
                await observer.look(home)
                await observer.check_nothing_is_out(home)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
        for task in beside:
            if not task.cancelled():
                task.result()  # it ends by itself only when it fails


def _dice(seed: int, what: str) -> random.Random:
    """Chance of its own for each part: what one draws does not depend on how far another is."""
    return random.Random(f"chaos {seed} {what}")  # noqa: S311 - it is to be repeatable


def _plan(dice: random.Random) -> _Plan:
    return _Plan(
        length=dice.uniform(30.0, 90.0),
        requests=dice.randint(40, 120),
        burstiness=dice.choice((0.0, 0.05, 0.2)),
        restless=dice.choice((0.0, 0.2, 0.5)),
        calm=dice.choice(CALMNESS),
        restarts=dice.choice(RESTARTS),
        weights=(*[fault.weight * dice.choice(WEIGHTS) for fault in NODE_FAULTS[1:]], 1.0),  # never none at all
    )


async def _furnished(home: House, observer: Observer, dice: random.Random) -> Scene:
    """Two to four nodes, each with some of two to four models, the first of them in memory."""
    models = MODELS[: dice.randint(2, len(MODELS))]
    victims = [await _moved_in(home, observer, name, models, dice) for name in NAMES[: dice.randint(2, len(NAMES))]]
    return Scene(home, observer, tuple(victims), models)


async def _moved_in(home: House, observer: Observer, name: str, models: tuple[str, ...], dice: random.Random) -> Victim:
    profile, parallel = PROFILES[dice.choice(MACHINES)], dice.choice((1, 1, 2, 3))
    fitting = tuple(
        model for model in models if CATALOG[model].resident(profile.default_context, parallel) <= profile.model_memory
    )
    had = dice.sample(fitting, dice.randint(1, len(fitting)))
    if name == NAMES[0] and models[0] not in had:
        had.append(models[0])  # what most clients ask for is somewhere
    owner, shelves = Owner(home.links), list[Shelf]()

    def around(server: Handler) -> Handler:
        shelves.append(Shelf(server, [model for model in fitting if model not in had]))
        return recorded(shelves[0].handle, NodeId(name), observer)

    node = await home.node(
        name,
        fitting,
        resident=had[:1],
        parallel=parallel,
        profile=profile,
        dialer=owner,
        progress=Seconds(dice.choice(PROGRESS_S)),
        around=around,
    )
    observer.truth.add(node.id, had, home.clock.monotonic())
    return Victim(node, owner, shelves[0], fitting, profile.model_memory)


# --- What goes on at once ---------------------------------------------------------------------------------------------


async def _requests(crowd: Crowd, plan: _Plan, dice: random.Random) -> None:
    left = plan.requests
    while left > 0:
        count = min(left, dice.randint(*BURST) if dice.random() < plan.burstiness else 1)
        for _ in range(count):
            crowd.send(dice)
        left -= count
        await asyncio.sleep(dice.expovariate(plan.requests / plan.length) * count)


async def _troubles(trouble: Troublemaker, plan: _Plan, dice: random.Random) -> None:
    async for _ in _moments(plan.calm, plan.length, dice):
        trouble.strike(dice)


async def _lives(scene: Scene, plan: _Plan, dice: random.Random) -> None:
    async for _ in _moments(plan.restarts, plan.length, dice):
        await router_restarts(scene, dice)


async def _clocks(scene: Scene, dice: random.Random, unit: float) -> None:
    async for _ in _moments(CLOCK_JUMPS_S, TOO_LONG_S, dice):
        clock_jumps(scene, dice, unit)


async def _moments(mean: float, within: float, dice: random.Random) -> AsyncIterator[None]:
    """Moments so many seconds apart on average; none if that is for ever."""
    loop = asyncio.get_running_loop()
    end = loop.time() + within
    while loop.time() < end and mean < math.inf:
        await asyncio.sleep(dice.expovariate(1.0 / mean))
        yield


async def _healed(scene: Scene, trouble: Troublemaker, crowd: Crowd) -> None:
    """All is made well; then everybody gets an end, every node comes back, and every model is served again."""
    observer, home = scene.observer, scene.home
    await trouble.over()
    observer.note("all is well")
    await crowd.ended(ENDS_S)
    await asyncio.sleep(SETTLED_S)  # until it is reported
    for victim in scene.victims:
        try:
            await home.until_node(str(victim.node.id), NodeState.READY)
        except TimeoutError:
            observer.violated(Invariant.STANDING, f"{victim.node.id} is not ready, though nothing is wrong with it")
    for model in dict.fromkeys(model for victim in scene.victims for model in observer.truth.models(victim.node.id)):
        await crowd.check(model, ENDS_S)
