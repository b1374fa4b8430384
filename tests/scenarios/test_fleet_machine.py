"""Any fleet, any requests, any failures, in any order: whatever Hypothesis comes up with, the invariants hold.

The steps of an example are collected first and then played in one virtual loop, with an observer that overhears every
link, server and client. In the end everything is made well, and nothing may be left over.
"""

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from herd.protocols.messages import Pause
from herd.runtime.testing import run_virtual
from herd.simulation.chaos.between import Owner
from herd.simulation.chaos.invariants import Asked, Observer, left_over
from herd.simulation.chaos.overhearing import MARK, OverheardLinks, recorded
from herd.simulation.chaos.truth import SETTLED_S
from herd.simulation.fleet.house import House, Sent, SimulatedNode, house
from herd.simulation.machine.profiles import PROFILES
from herd.types import Bytes, GiB, NodeId, NodeState, Seconds

MODELS = ("llama3.2:3b", "qwen3:8b", "gemma3:12b")
PATHS = ("/api/chat", "/api/generate", "/v1/chat/completions")
# Room for one of the larger models at a time, so that loads have to wait for one another.
CARD = replace(PROFILES["gaming-pc"], model_memory=Bytes(12 * GiB))
MACHINES = {"card": CARD, "mini": PROFILES["mini-pc"], "studio": PROFILES["mac-studio"]}
MOST_NODES = 4
ENDS_S = 600.0  # virtual: every request has an end by then

Step = tuple[str, tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks for."""

    model: str
    path: str
    tokens: int
    num_ctx: int | None  # of Ollama's own API
    client: str
    priority: str


@dataclass(slots=True)
class Stage:
    """One example under way."""

    home: House
    observer: Observer
    nodes: list[SimulatedNode] = field(default_factory=list)
    owners: list[Owner] = field(default_factory=list)
    away: dict[int, None] = field(default_factory=dict)  # nodes whose agent has stopped
    asked: list[tuple[Asked, Sent]] = field(default_factory=list)

    # --- the steps ----------------------------------------------------------------------------------------------------

    async def join(self, machine: str, models: list[str], parallel: int) -> None:
        name, owner = f"n{len(self.nodes)}", Owner(self.home.links)
        node = await self.home.node(
            name,
            models,
            profile=MACHINES[machine],
            parallel=parallel,
            dialer=owner,
            around=lambda server: recorded(server, NodeId(name), self.observer),
        )
        self.observer.truth.add(node.id, models, self.home.clock.monotonic())
        self.nodes.append(node)
        self.owners.append(owner)

    async def ask(self, request: Request) -> None:
        asked = self.observer.ask(f"r{len(self.asked)}", request.model, request.path, streamed=True)
        asked.began = asyncio.get_running_loop().time()
        messages = [{"role": "user", "content": "hello"}]
        options = {"num_predict": request.tokens} | ({"num_ctx": request.num_ctx} if request.num_ctx else {})
        bodies: dict[str, dict[str, Any]] = {
            "/api/chat": {"messages": messages, "options": options},
            "/api/generate": {"prompt": "hello", "options": options},
            "/v1/chat/completions": {"messages": messages, "max_tokens": request.tokens},
        }
        headers = ((MARK, asked.mark), ("X-OpenWebUI-User-Id", request.client), ("X-Herd-Priority", request.priority))
        sent = self.home.send(
            request.path, {"model": request.model, "stream": True} | bodies[request.path], headers, sink=asked.sink
        )
        self.asked.append((asked, sent))

    async def hang_up(self, number: int) -> None:
        waiting = [(asked, sent) for asked, sent in self.asked if not sent.task.done()]
        if waiting:
            asked, sent = waiting[number % len(waiting)]
            asked.leaving = True
            await sent.hang_up()

    async def pause(self, number: int) -> None:
        self.owners[number % len(self.owners)].pause(Pause("meeting", "is in a meeting", Seconds(0.0)))

    async def resume(self, number: int) -> None:
        self.owners[number % len(self.owners)].pause()

    async def fail(self, number: int, status: int) -> None:
        self._node(number).ollama.fail_next(status, "trouble")

    async def die(self, number: int) -> None:
        self._node(number).ollama.die_mid_stream(3)

    async def cut(self, number: int) -> None:
        self.home.links.cut(self._node(number).id)

    async def stop_server(self, number: int) -> None:
        self._node(number).stop_server()

    async def start_server(self, number: int) -> None:
        self._node(number).start_server()

    async def leave(self, number: int) -> None:
        number %= len(self.nodes)
        if number not in self.away:
            self.away[number] = None
            await self.nodes[number].stop_agent()

    async def come_back(self, number: int) -> None:
        number %= len(self.nodes)
        if number in self.away:
            del self.away[number]
            await self.nodes[number].start_agent()

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def _node(self, number: int) -> SimulatedNode:
        return self.nodes[number % len(self.nodes)]

    # --- the end ------------------------------------------------------------------------------------------------------

    async def end(self) -> None:
        """Everything is made well; every request has its end, and every node is of use again."""
        for number, node in enumerate(self.nodes):
            node.start_server()
            await self.come_back(number)
            await self.resume(number)
        if self.asked:
            await asyncio.wait([sent.task for _, sent in self.asked], timeout=ENDS_S)
        for asked, sent in self.asked:
            assert sent.task.done(), f"{asked.mark} has no end"
            self.observer.over(asked, sent.task)
            assert b"requires more system memory" not in asked.sink.body, f"{asked.mark} asked for too large a load"
        await asyncio.sleep(SETTLED_S)
        for node in self.nodes:
            await self.home.until_node(str(node.id), NodeState.READY)
        await self.observer.look(self.home)
        await self.observer.check_nothing_is_out(self.home)
        assert await left_over(self.home) == []
        assert self.observer.violations == []


async def played(steps: list[Step]) -> None:
    """Play an example from its first step to its end."""
    observer = Observer()
    async with house(links=OverheardLinks(observer), hold_timeout=20.0) as home:
        stage = Stage(home, observer)
        with ExitStack() as stack:
            for number in range(MOST_NODES):  # when a node is of use is not foretold here
                stack.enter_context(observer.truth.trouble(NodeId(f"n{number}"), home.clock.monotonic))
            for name, args in steps:
                await getattr(stage, name)(*args)
        await stage.end()


NODE = st.integers(0, MOST_NODES - 1)
REQUESTS = st.builds(
    Request,
    model=st.sampled_from(MODELS),
    path=st.sampled_from(PATHS),
    tokens=st.integers(1, 400),
    num_ctx=st.sampled_from((None, 2048, 8192)),
    client=st.sampled_from("abc"),
    priority=st.sampled_from(("interactive", "batch")),
)


class FleetMachine(RuleBasedStateMachine):
    """Collects the steps of an example."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self.nodes = 0

    def step(self, name: str, *args: Any) -> None:
        self.steps.append((name, args))

    @initialize()
    def a_first_node(self) -> None:
        self.join("card", list(MODELS), 1)

    @precondition(lambda self: self.nodes < MOST_NODES)
    @rule(
        machine=st.sampled_from(sorted(MACHINES)),
        models=st.lists(st.sampled_from(MODELS), min_size=1, unique=True),
        parallel=st.integers(1, 2),
    )
    def join(self, machine: str, models: list[str], parallel: int) -> None:
        fitting = models if machine != "card" else [model for model in models if (model, parallel) != (MODELS[2], 2)]
        if fitting:
            self.nodes += 1
            self.step("join", machine, fitting, parallel)

    @rule(request=REQUESTS)
    def ask(self, request: Request) -> None:
        self.step("ask", request)

    @rule(what=st.sampled_from(("pause", "resume", "die", "cut", "stop_server", "start_server")), node=NODE)
    def trouble(self, what: str, node: int) -> None:
        self.step(what, node)

    @rule(what=st.sampled_from(("leave", "come_back")), node=NODE)
    def agents(self, what: str, node: int) -> None:
        self.step(what, node)

    @rule(node=NODE, status=st.sampled_from((404, 500, 502, 503)))
    def fail(self, node: int, status: int) -> None:
        self.step("fail", node, status)

    @rule(number=st.integers(0, 20))
    def hang_up(self, number: int) -> None:
        self.step("hang_up", number)

    @rule(seconds=st.sampled_from((0.0, 0.01, 0.5, 3.0, 12.0, 40.0)))
    def pass_time(self, seconds: float) -> None:
        self.step("pass_time", seconds)

    def teardown(self) -> None:
        run_virtual(played(self.steps), allow_lost=True)


class ManyFleets(FleetMachine):
    """The same, for when there is time."""


TestFleets = FleetMachine.TestCase
TestFleets.settings = settings(max_examples=8, stateful_step_count=25, deadline=None)

TestManyFleets = pytest.mark.timeout(300)(pytest.mark.slow(ManyFleets.TestCase))
TestManyFleets.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
