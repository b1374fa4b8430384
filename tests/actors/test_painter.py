"""`/api/generate-image` in an agent: recognised servers of images, each asked in its own words, and a picture back."""

import asyncio
import base64
from dataclasses import replace
from typing import Any

import orjson
import pytest

from herd.actors.backend import POLL_S, Backend, BackendSettings, BackendState
from herd.actors.painter import MAX_BODY
from herd.actors.ports import HttpRequest, Sink
from herd.actors.relay import Relay
from herd.protocols.messages import Failure, Head, Usage
from herd.runtime import ActorHandle, remote, stop
from herd.runtime.testing import run_virtual, virtual_time
from herd.simulation.clock import LoopClock
from herd.simulation.http import InMemoryServers
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.media import MEDIA
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.ollama.faults import Lie
from herd.simulation.ollama.pages import send
from herd.simulation.ollama.server import FakeOllama
from herd.types import BackendId, BackendKind, Seconds, Tokens
from tests.actors.doubles import FakeServing, Witness, request_head, settled
from tests.image_servers import Described, ImageServer, Kind, LocalAI, SdServer
from tests.protocols.translation.pictures_made import JPEG, png

BASE = "http://127.0.0.1:1234"
ALL = {"steps": 4, "guidance": 3.5, "seed": 42, "quantize": 8, "negative_prompt": "dogs"}
PAINTER = "x/z-image-turbo"


class Node:
    """An agent's Backend and Relay in front of one server."""

    def __init__(self, handler: Any) -> None:
        servers = InMemoryServers()
        servers.serve(BASE, handler)
        known = BackendId("images")
        self.servers = servers
        self.agent: ActorHandle = remote(Witness).remote()
        self.backends: dict[BackendId, ActorHandle] = {}
        self.relay = Relay({known: BASE}, self.backends, servers, LoopClock())
        self.backends[known] = remote(Backend).remote(
            BackendSettings(known, BASE), servers, self.agent, None, lambda *told: self.relay.recognised(known, *told)
        )

    async def state(self) -> BackendState:
        """What the Backend knows once it has looked."""
        await asyncio.sleep(POLL_S / 2)
        heard = await self.agent.heard.remote()
        states: list[BackendState] = [args[0] for name, args in heard if name == "backend_changed"]
        return states[-1]

    async def ask(self, **fields: Any) -> list[Head | bytes | Usage | Failure]:
        """Have the relay serve one request for a picture, to its end."""
        body = orjson.dumps({"model": PAINTER, "prompt": "a cat", **fields})
        head = request_head(len(body), "images", streamed=False)
        serving = FakeServing(replace(head, path="/api/generate-image"), body[:9], body[9:])
        await self.relay(serving)
        return serving.said

    async def edit(self, body: bytes, content_type: str) -> tuple[int, Any, Usage]:
        """Have it serve one request for a picture to be changed: status, answer and usage."""
        headers = (("content-type", content_type), ("User-Agent", "me"))
        head = request_head(len(body), "images", streamed=False)
        serving = FakeServing(replace(head, path="/v1/images/edits", headers=headers), body[:99], body[99:])
        await self.relay(serving)
        answer, *pieces, usage = serving.said
        assert isinstance(answer, Head)
        assert isinstance(usage, Usage)
        return answer.status, orjson.loads(b"".join([piece for piece in pieces if isinstance(piece, bytes)])), usage

    async def end(self) -> None:
        for actor in (*self.backends.values(), self.agent):
            await stop(actor)


def picture_of(said: list[Head | bytes | Usage | Failure]) -> tuple[dict[str, str], bytes, Usage]:
    """Headers, picture and usage of an answer."""
    head, *pieces, usage = said
    assert isinstance(head, Head)
    assert isinstance(usage, Usage)
    assert head.status == 200
    return dict(head.headers), b"".join([piece for piece in pieces if isinstance(piece, bytes)]), usage


def refusal_of(said: list[Head | bytes | Usage | Failure]) -> tuple[int, str]:
    head, body, usage = said
    assert isinstance(head, Head)
    assert isinstance(body, bytes)
    assert isinstance(usage, Usage)
    assert usage.failed
    return head.status, orjson.loads(body)["error"]


def sides(picture: bytes) -> tuple[int, int]:
    return int.from_bytes(picture[16:20], "big"), int.from_bytes(picture[20:24], "big")


FULL = {"prompt": "a cat", "width": 512, "height": 256, "steps": 4, "seed": 42, "negative": "dogs"}


@pytest.mark.parametrize(
    ("kind", "drawn", "ignored"),
    [
        (SdServer(), {**FULL, "guidance": {"distilled_guidance": 3.5}}, "quantize"),
        (SdServer(txt_cfg=7.0), {**FULL, "guidance": {"txt_cfg": 3.5}}, "quantize"),
        (LocalAI(), {**FULL, "guidance": None}, "guidance, quantize"),
        (Described(), {**FULL, "guidance": 3.5, "negative": ""}, "quantize, negative_prompt"),
    ],
)
def test_a_server_is_asked_in_its_own_words_and_what_it_cannot_be_told_is_named(
    kind: Kind, drawn: dict[str, Any], ignored: str
) -> None:
    async def story() -> None:
        server = ImageServer(kind)
        node = Node(server.handle)
        info = (await node.state()).info
        assert info is not None
        assert info.kind == BackendKind.OPENAI
        assert {"/api/generate-image", "/v1/images/generations"} <= set(info.apis)
        headers, picture, usage = picture_of(await node.ask(width=512, height=256, **ALL))
        assert headers == {"Content-Type": "image/png", "X-Herd-Ignored": ignored}
        assert sides(picture) == (512, 256)
        assert server.drawn == [drawn]
        assert (usage.completion, usage.complete, usage.failed) == (525, True, False)  # 512 x 256 x 4 / 1000
        headers, _, usage = picture_of(await node.ask(width=64, height=64))
        assert (headers, usage.completion) == ({"Content-Type": "image/png"}, 0)  # nobody says in how many steps
        await node.end()

    run_virtual(story())


@virtual_time
async def test_a_server_of_images_alone_has_no_chat_and_its_models_make_images() -> None:
    for kind, name in ((SdServer("sdxl"), "sdxl"), (Described("z-image"), "z-image")):
        node = Node(ImageServer(kind).handle)
        state = await node.state()
        assert state.info is not None
        assert [(model.name, model.capabilities, model.resident) for model in state.models] == [
            (name, ("image",), True)
        ]
        assert not [api for api in state.info.apis if "chat" in api or "embed" in api or "transcri" in api]
        await node.end()


@virtual_time
async def test_localai_is_not_taken_for_ollama_and_says_which_model_does_what() -> None:
    node = Node(ImageServer(LocalAI()).handle)
    state = await node.state()
    assert state.info is not None
    assert {"/v1/chat/completions", "/api/chat", "/v1/images/generations", "/api/transcribe"} <= set(state.info.apis)
    assert "/v1/images/edits" not in state.info.apis
    assert {model.name: model.capabilities for model in state.models} == {
        "flux": ("image",),
        "whisper-1": ("audio",),
        "qwen": ("completion", "tools"),
        "voice": ("tts",),
        "loose.gguf": (),
    }
    await node.end()


@virtual_time
async def test_an_older_localai_lists_its_models_alone() -> None:
    kind = LocalAI()
    del kind.lists["/v1/models/capabilities"]
    node = Node(ImageServer(kind).handle)
    assert {model.name for model in (await node.state()).models} == {"flux", "whisper-1", "qwen", "voice"}
    await node.end()


def ollama(version: str) -> FakeOllama:
    return FakeOllama(PROFILES["mac-studio"], [*MEDIA.values(), CATALOG["llama3.2:3b"]], version=version)


@virtual_time
async def test_ollama_paints_at_its_own_endpoint_and_says_what_it_took() -> None:
    fake = ollama("0.20.0")
    node = Node(fake.handle)
    info = (await node.state()).info
    assert info is not None
    assert {"/api/generate-image", "/v1/images/generations", "/v1/images/edits"} <= set(info.apis)
    headers, picture, usage = picture_of(await node.ask(width=256, height=128, **ALL))
    assert headers == {"Content-Type": "image/png", "X-Herd-Ignored": "guidance, quantize, negative_prompt"}
    assert sides(picture) == (256, 128)
    assert fake.requests["/api/generate"] == 1
    assert usage.completion == 132  # rounded up
    assert usage.load_s > 1.0
    assert usage.decode_s > 0.0
    _, _, usage = picture_of(await node.ask())
    assert usage.completion == 1024 * 1024 * 9 // 1000 + 1  # in as many steps as Ollama says that it took
    assert usage.load_s == pytest.approx(0.0, abs=1e-6)
    await node.end()


@pytest.mark.parametrize("version", ["0.14.2", "0.32.6"])
def test_an_ollama_without_images_is_not_asked_for_any(version: str) -> None:
    async def story() -> None:
        node = Node(ollama(version).handle)
        state = await node.state()
        assert state.info is not None
        assert not [api for api in state.info.apis if "image" in api]
        assert any("image" in model.capabilities for model in state.models)  # it has them on its disk all the same
        await node.end()

    run_virtual(story())


@virtual_time
async def test_a_picture_that_is_no_png_comes_as_what_it_is() -> None:
    node = Node(ImageServer(Described(), JPEG).handle)
    await node.state()
    headers, picture, _ = picture_of(await node.ask())
    assert (headers["Content-Type"], picture) == ("image/jpeg", JPEG)
    await node.end()


@pytest.mark.parametrize("kind", [SdServer(), LocalAI(), Described()])
def test_a_servers_failure_is_told_in_its_words_and_ollamas_form(kind: Kind) -> None:
    async def story() -> None:
        server = ImageServer(kind)
        node = Node(server.handle)
        await node.state()
        server.failing = "out of memory"
        assert refusal_of(await node.ask()) == (500, "out of memory")
        await node.end()

    run_virtual(story())


@virtual_time
async def test_what_is_no_request_for_a_picture_is_refused_before_anybody_is_asked() -> None:
    server = ImageServer(Described())
    node = Node(server.handle)
    await node.state()
    assert refusal_of(await node.ask(prompt="")) == (400, "prompt is required")
    assert refusal_of(await node.ask(width=-1)) == (400, "width must be from 1 to 16384")
    status, text = refusal_of(await node.ask(prompt="a" * MAX_BODY))
    assert (status, text) == (413, "the request is longer than the 1 MiB that can be translated")
    assert server.asked == []
    await node.end()


@virtual_time
async def test_a_model_for_words_makes_no_picture_and_the_request_may_be_tried_elsewhere() -> None:
    node = Node(ollama("0.20.0").handle)
    await node.state()
    status, text = refusal_of(await node.ask(model="nobody"))
    assert (status, text) == (404, "model 'nobody' not found")
    (failure,) = await node.ask(model="llama3.2:3b")
    assert isinstance(failure, Failure)
    assert "no whole picture" in failure.text
    await node.end()


@virtual_time
async def test_an_answer_that_breaks_is_no_picture() -> None:
    fake = ollama("0.20.0")
    node = Node(fake.handle)
    await node.state()
    fake.die_mid_stream(2)
    (failure,) = await node.ask(steps=4)
    assert isinstance(failure, Failure)
    for lie in (Lie.SHORT, Lie.EMPTY):
        fake.lie_next(lie)
        (failure,) = await node.ask(steps=1)
        assert isinstance(failure, Failure)
    fake.lie_next(Lie.ERROR)
    status, text = refusal_of(await node.ask(steps=1))
    assert (status, text.startswith("an error was encountered")) == (500, True)
    await node.end()


@virtual_time
async def test_a_client_that_hangs_up_ends_the_servers_work() -> None:
    server = ImageServer(SdServer())
    node = Node(server.handle)
    await node.state()
    server.gate.clear()
    asking = asyncio.create_task(node.ask())
    await server.began.wait()
    asking.cancel()
    await settled()
    assert server.hung_up.is_set()
    await node.end()


@virtual_time
async def test_a_tool_that_the_agent_runs_says_itself_what_it_took_and_what_its_model_does_not_heed() -> None:
    asked: list[Any] = []
    figures = {"load_s": 12.5, "work_s": 18.0, "kilopixel_steps": 4195, "width": 1024, "height": 1024, "steps": 4}
    picture = base64.b64encode(png(1024, 1024)).decode()

    async def serve(request: HttpRequest, sink: Sink) -> None:
        if request.method == "POST":
            asked.append(orjson.loads(await (await request.read_body(MAX_BODY)).examine(bytes)))
            await sink.start(200, (("Content-Type", "application/json"), ("X-Herd-Ignored", "guidance, seed")))
            await sink.write(orjson.dumps({"created": 1, "data": [{"b64_json": picture}], "herd": figures}))
            await sink.finish()
        elif request.path == "/v1/models":
            item = {"id": PAINTER, "owned_by": "mflux", "capabilities": ["image"], "status": {"value": "unloaded"}}
            await send(sink, 200, "application/json", orjson.dumps({"data": [item]}))
        else:
            await send(sink, 404, "text/plain", b"")

    node = Node(serve)
    state = await node.state()
    assert state.info is not None
    assert (state.info.kind, state.models[0].capabilities) == (BackendKind.MFLUX, ("image",))
    headers, made, usage = picture_of(await node.ask(**ALL, scheduler="x"))
    assert headers["X-Herd-Ignored"] == "scheduler, guidance, seed"
    assert made == png(1024, 1024)
    assert asked == [{"model": PAINTER, "prompt": "a cat", "n": 1, "response_format": "b64_json", **ALL}]
    assert usage == Usage(completion=Tokens(4195), load_s=Seconds(12.5), decode_s=Seconds(18.0), complete=True)
    await node.end()


FORM = "multipart/form-data; boundary=b"


def form(picture: bytes, **fields: str) -> bytes:
    """As OpenAI's clients send it."""
    parts = [f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{fields[name]}\r\n' for name in fields]
    file = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n' + picture + b"\r\n"
    return "".join(parts).encode() + file + b"--b--\r\n"


@virtual_time
async def test_a_picture_in_a_form_reaches_ollama_as_the_json_that_it_takes() -> None:
    fake = ollama("0.20.0")
    node = Node(fake.handle)
    await node.state()
    fields = {"model": PAINTER, "prompt": "at night", "size": "32x16", "n": "1", "user": "somebody"}
    status, answer, usage = await node.edit(form(png(8, 8), **fields), FORM)
    assert (status, usage.complete, usage.failed) == (200, True, False)
    made = base64.b64decode(answer["data"][0]["b64_json"])
    assert sides(made) == (32, 16)
    url = "data:image/png;base64," + base64.b64encode(png(8, 8)).decode()
    said = orjson.dumps({"model": PAINTER, "prompt": "at night", "size": "32x16", "image": url})
    _, same, _ = await node.edit(said, "application/json")  # which goes as it is
    assert same["data"] == answer["data"]
    await node.end()


@virtual_time
async def test_refusals_of_forms_and_of_ollama_are_in_openais_words() -> None:
    fake = ollama("0.20.0")
    node = Node(fake.handle)
    await node.state()
    status, answer, usage = await node.edit(form(png(), model=PAINTER), FORM)
    assert (status, answer["error"]["message"]) == (400, "prompt is required")
    assert not usage.complete
    status, answer, _ = await node.edit(form(b"words", model=PAINTER, prompt="a"), FORM)
    assert (status, answer["error"]["message"]) == (400, "invalid image: this model's server takes PNG, JPEG and WebP")
    assert fake.requests["/v1/images/edits"] == 1
    await node.end()


@virtual_time
async def test_a_form_for_another_server_goes_as_it_is() -> None:
    sent: list[bytes] = []

    async def serve(request: HttpRequest, sink: Sink) -> None:
        if request.method == "POST":
            sent.append(await (await request.read_body(MAX_BODY)).examine(bytes))
            await send(sink, 200, "application/json", b'{"data":[]}')
        else:
            await server.handle(request, sink)

    server = ImageServer(Described(edits=True))
    node = Node(serve)
    await node.state()
    body = form(png(), model="z-image", prompt="a")
    assert (await node.edit(body, FORM))[0] == 200
    assert sent == [body]
    await node.end()
