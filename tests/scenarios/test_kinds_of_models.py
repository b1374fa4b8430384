"""Pictures and speech in a fleet: they wait their turn, move, and are foretold in their own units."""

import asyncio
import json
import math
from functools import partial
from typing import Any

import pytest

from herd.actors.agent import AgentOptions, AgentPorts, running_agent
from herd.actors.backend import BackendSettings
from herd.actors.ports import HttpRequest, Sink
from herd.protocols.messages import PROTOCOL_VERSIONS, Hello
from herd.runtime.testing import virtual_time
from herd.simulation.clock import LoopClock
from herd.simulation.fleet.house import House, Sent, ServerEnvironment, SimulatedNode
from herd.simulation.fleet.occupancy import IdleMachine
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.ollama.server import FakeOllama
from herd.types import BackendId, Bytes, GiB, MiB, NodeId, NodeName, NodeState
from tests.scenarios.helpers import assert_nothing_is_out, queue_of, scenario, served_by, turns

FLUX, WHISPER = "flux-schnell", "whisper-large-v3"
IMAGES, GENERATE, SPEECH = "/v1/images/generations", "/api/generate-image", "/v1/audio/transcriptions"
LOAD_S = 6.0
MEGAPIXEL = {"model": FLUX, "prompt": "a red fox", "width": 1024, "height": 1024, "steps": 4}
STEPS = 4195  # kilopixel-steps of that
SECOND = 16_000  # bytes of sound, as the router guesses
FORM = (("Content-Type", "multipart/form-data; boundary=b"),)


def form(seconds: int) -> bytes:
    """An upload of so much sound, in a format that does not say how long it is."""
    fields = f'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n{WHISPER}\r\n'
    file = '--b\r\nContent-Disposition: form-data; name="file"; filename="a.mp3"\r\n\r\n'
    return fields.encode() + file.encode() + b"ID3" + bytes(seconds * SECOND) + b"\r\n--b--\r\n"


class Tool:
    """A server of pictures or speech that does one job at a time.

    Args:
        model: what it has.
        rate: kilopixel-steps, or frames, a second.
    """

    def __init__(self, model: str, rate: float) -> None:
        self.model = model
        self.rate = rate
        self.runs = False
        self.most = self.at_once = 0

    async def handle(self, request: HttpRequest, sink: Sink) -> None:
        if request.path in {IMAGES, SPEECH}:
            body = await (await request.read_body(Bytes(64 * MiB))).examine(bytes)
            await self._say(sink, await (self._draw(json.loads(body)) if self.model == FLUX else self._hear(len(body))))
        elif request.path == "/v1/models":
            status = "loaded" if self.runs or self.model == WHISPER else "unloaded"
            entry = {"id": self.model, "meta": {"size": 10 * GiB}, "status": {"value": status}}
            known = {"owned_by": "mflux", "capabilities": ["image"]} if self.model == FLUX else {"owned_by": "me"}
            await self._say(sink, {"object": "list", "data": [entry | known]})
        elif request.path == "/openapi.json" and self.model == WHISPER:
            await self._say(sink, {"openapi": "3.1.0", "paths": {SPEECH: {"post": {}}, "/v1/models": {"get": {}}}})
        else:
            await self._say(sink, {"error": "not found"}, 404)

    async def _draw(self, asked: dict[str, Any]) -> dict[str, Any]:
        """As a program that is run for each picture."""
        width, height = map(int, asked["size"].split("x"))
        units = width * height * asked["steps"] / 1000
        await self._job(LOAD_S + units / self.rate)
        took = {"load_s": LOAD_S, "work_s": units / self.rate, "kilopixel_steps": math.ceil(units)}
        return {"created": 1, "data": [{"b64_json": "iVBORw0KGgo="}], "herd": took}

    async def _hear(self, size: int) -> dict[str, Any]:
        """It says nothing of what it took."""
        await self._job(100 * size / SECOND / self.rate)
        return {"text": "It was the best of times."}

    async def _job(self, seconds: float) -> None:
        self.at_once += 1
        self.most, self.runs = max(self.most, self.at_once), True
        try:
            await asyncio.sleep(seconds)
        finally:
            self.at_once -= 1
            self.runs = self.at_once > 0

    @staticmethod
    async def _say(sink: Sink, what: Any, status: int = 200) -> None:
        body = json.dumps(what).encode()
        await sink.start(status, (("Content-Type", "application/json"), ("Content-Length", str(len(body)))))
        await sink.write(body)
        await sink.finish()


async def add(home: House, name: str, tool: Tool) -> Tool:
    """A machine with such a server; once the router knows it."""
    profile, clock = PROFILES["mac-studio"], LoopClock()
    ollama = FakeOllama(profile, [])
    probe = IdleMachine(profile, ollama)
    base_url = f"http://{name}:9000"
    hello = Hello(PROTOCOL_VERSIONS, NodeId(name), NodeName(name), "simulated", machine=probe.machine())
    options = AgentOptions(hello, (BackendSettings(BackendId("tool"), base_url, parallel=1),), "http://router")
    ports = AgentPorts(
        home.servers, home.links, None, probe, joined=lambda _: None, clock=clock, processes=ServerEnvironment({})
    )
    agent = partial(running_agent, options, ports)
    node = SimulatedNode(hello.node_id, base_url, ollama, home.servers, clock, tool.handle, agent)
    node.start_server()
    await node.start_agent()
    home.nodes.append(node)
    await home.until_node(name, NodeState.READY)
    return tool


async def learned(home: House, name: str) -> dict[str, Any]:
    answer = await home.ask(f"/herd/v1/nodes/{name}", method="GET")
    (known,) = answer.json["learned"]
    return dict(known)


async def over(*sent: Sent) -> list[str | None]:
    """Which node has served each."""
    await asyncio.wait([one.task for one in sent])
    return [served_by(one.sink) for one in sent]


@virtual_time
async def test_pictures_are_made_one_at_a_time_on_each_node_and_more_of_them_where_it_is_faster() -> None:
    async with scenario(hold_timeout=300.0) as home:
        fast = await add(home, "fast", Tool(FLUX, 400.0))
        slow = await add(home, "slow", Tool(FLUX, 100.0))
        await over(*(home.send(GENERATE, MEGAPIXEL) for _ in range(2)))  # both are known by now

        served = await over(*(home.send(GENERATE, MEGAPIXEL) for _ in range(6)))
        assert (fast.most, slow.most) == (1, 1)
        assert served.count("fast") > served.count("slow") > 0
        (work,) = (await learned(home, "fast"))["work"]
        assert work == {
            "unit": "kilopixel-step",
            "rate": pytest.approx(400.0, rel=0.01),
            "amount": pytest.approx(STEPS, rel=0.01),
        }
        assert (await learned(home, "fast"))["load_s"] == pytest.approx(LOAD_S)
        assert (await learned(home, "fast"))["decode"] is None  # it writes no tokens
        await assert_nothing_is_out(home)


@virtual_time
async def test_seconds_of_a_picture_are_foretold_its_load_included_and_those_of_its_queue() -> None:
    async with scenario(hold_timeout=300.0) as home:
        await add(home, "studio", Tool(FLUX, 200.0))
        await over(home.send(GENERATE, MEGAPIXEL))

        one = LOAD_S + STEPS / 200.0
        larger = {**MEGAPIXEL, "width": 2048}
        sent = [home.send(GENERATE, MEGAPIXEL)]
        await asyncio.sleep(3.0)  # it runs, and its node has said so
        sent += [home.send(GENERATE, larger), home.send(GENERATE, MEGAPIXEL)]
        await over(*sent)
        predicted = [float(one.sink.header("X-Herd-Predicted-Ms") or 0.0) / 1000 for one in sent]
        two = LOAD_S + 2 * STEPS / 200.0
        assert predicted == [
            pytest.approx(one, rel=0.05),
            pytest.approx(one - 3.0 + two, rel=0.05),
            pytest.approx(one - 3.0 + two + one, rel=0.05),
        ]
        (request, *_) = (await home.ask("/herd/v1/requests", method="GET")).json["requests"]
        assert request["work"] == {"unit": "kilopixel-step", "amount": STEPS}
        assert (request["prompt"], request["completion"]) == (None, None)
        (node,) = (await home.ask("/herd/v1/status", method="GET")).json["nodes"]
        assert node["tokens_per_s"] == 0.0
        assert node["memory_free"] > 0
        assert await home.router.parts.scorer.reserved.remote() == {}


@virtual_time
async def test_a_picture_that_waits_moves_to_a_node_that_comes() -> None:
    async with scenario(hold_timeout=300.0) as home:
        await add(home, "busy", Tool(FLUX, 50.0))
        sent = [home.send(IMAGES, {"model": FLUX, "prompt": "x", "size": "1024x1024", "steps": 4}) for _ in range(3)]
        await turns(50)
        assert await queue_of(home, "busy", f"{FLUX}:latest") == (1, 2)
        await asyncio.sleep(2.0)
        await add(home, "idle", Tool(FLUX, 50.0))

        assert sorted(map(str, await over(*sent))) == ["busy", "busy", "idle"]
        await assert_nothing_is_out(home)


@virtual_time
async def test_speech_is_measured_by_the_agent_and_what_nobody_waited_for_teaches_nothing() -> None:
    async with scenario(hold_timeout=300.0) as home:
        tool = await add(home, "studio", Tool(WHISPER, 1000.0))
        gone = home.send(SPEECH, form(60), FORM)
        await asyncio.sleep(1.0)
        await gone.hang_up()
        tool.rate = 500.0  # what the first one would have taught is wrong by half
        sent = [home.send(SPEECH, form(seconds), FORM) for seconds in (30, 60)]
        assert await over(*sent) == ["studio", "studio"]
        assert tool.most == 1

        (work,) = (await learned(home, "studio"))["work"]
        assert (work["unit"], work["rate"]) == ("audio-frame", pytest.approx(500.0, rel=0.02))
        foretold = home.send(SPEECH, form(120), FORM)
        await over(foretold)
        assert float(foretold.sink.header("X-Herd-Predicted-Ms") or 0.0) == pytest.approx(24_000, rel=0.02)
        await assert_nothing_is_out(home)


@virtual_time
async def test_a_picture_cannot_be_pinned() -> None:
    async with scenario() as home:
        await add(home, "studio", Tool(FLUX, 200.0))
        answer = await home.ask(f"/herd/v1/pins/{FLUX}")

        assert answer.status == 409
        assert b"only Ollama can be told to" in answer.body
