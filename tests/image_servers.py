"""Stand-ins for servers of images, each with the ways of its kind: sd-server, LocalAI, and what is made with FastAPI.

An `ImageServer` is a handler; `InMemoryServers` carries it, or any HTTP server that knows the ports.
"""

import asyncio
import base64
import json
import re
from typing import Any, Protocol

from herd.actors.ports import HttpRequest, Sink
from herd.simulation.ollama.pages import send
from herd.simulation.ollama.pictures import png
from herd.types import Bytes, MiB

GENERATIONS = "/v1/images/generations"
_JSON = "application/json"
_BLOCK = re.compile(r"<sd_cpp_extra_args>(.*?)</sd_cpp_extra_args>")


class Kind(Protocol):
    """What is special about one program."""

    lists: dict[str, Any]  # what it answers to a GET, by path

    def drawn(self, body: dict[str, Any]) -> dict[str, Any]:
        """What it understands of a request: prompt, width, height, steps, guidance, seed, negative."""

    def error(self, text: str) -> Any:
        """How it says that something is wrong."""


class SdServer:
    """stable-diffusion.cpp's. Whatever model is asked for, its own answers.

    Args:
        stem: of the model's file.
        txt_cfg: the guidance that it was started with; 1 for models that are guided by themselves.
    """

    def __init__(self, stem: str = "flux1-schnell-q4_0", txt_cfg: float = 1.0) -> None:
        guidance = {"txt_cfg": txt_cfg, "distilled_guidance": 3.5}
        defaults = {"sample_params": {"sample_steps": 4, "guidance": guidance}}
        capabilities = {"model": {"name": f"{stem}.gguf", "stem": stem}, "supported_modes": ["img_gen"]}
        self.lists = {
            "/v1/models": {"data": [{"id": "sd-cpp-local", "object": "model", "owned_by": "local"}]},
            "/sdcpp/v1/capabilities": {**capabilities, "defaults_by_mode": {"img_gen": defaults}},
        }

    def drawn(self, body: dict[str, Any]) -> dict[str, Any]:
        block = _BLOCK.search(body["prompt"])
        own = json.loads(block[1]) if block else {}
        sampling = own.get("sample_params", {})
        return {
            "prompt": _BLOCK.sub("", body["prompt"]),
            **_sides(body, 512),
            "steps": sampling.get("sample_steps", 4),
            "guidance": sampling.get("guidance", {}),
            "seed": own.get("seed", -1),
            "negative": own.get("negative_prompt", ""),
        }

    def error(self, text: str) -> Any:
        return {"error": "server_error", "message": text}


class LocalAI:
    """It has Ollama's lists, too, and models of several kinds."""

    def __init__(self) -> None:
        models = {"flux": ["image"], "whisper-1": ["transcript"], "qwen": ["chat", "tools"], "voice": ["tts"]}
        endpoints = {"chat": {"chat_completions": "/v1/chat/completions"}, "models": "/v1/models"}
        listed = [{"id": name, "object": "model"} for name in models]
        self.lists = {
            "/.well-known/localai.json": {"version": "v4.9.0", "endpoints": {**endpoints, "images": GENERATIONS}},
            "/api/version": {"version": "0.9.0"},
            "/version": {"version": "v4.9.0"},
            "/api/tags": {"models": [{"name": name} for name in models]},
            "/api/ps": {"models": []},
            "/v1/models": {"object": "list", "data": listed},
            "/v1/models/capabilities": {
                "object": "list",
                "data": [{"id": name, "capabilities": words} for name, words in models.items()]
                + [{"id": "loose.gguf", "capabilities": None}],
            },
        }

    def drawn(self, body: dict[str, Any]) -> dict[str, Any]:
        prompt, _, negative = body["prompt"].partition("|")
        steps = {"steps": body.get("step", 15), "seed": body.get("seed", 0)}
        return {"prompt": prompt, **_sides(body, 512), **steps, "guidance": None, "negative": negative}

    def error(self, text: str) -> Any:
        return {"error": {"code": 500, "message": text, "type": ""}}


class Described:
    """Made with FastAPI and diffusers: it says at `/openapi.json` what it takes, and refuses what it does not."""

    def __init__(self, model: str = "z-image", *, edits: bool = False) -> None:
        fields = ("model", "prompt", "n", "size", "response_format", "num_inference_steps", "guidance_scale", "seed")
        reference = {"schema": {"$ref": "#/components/schemas/ImageRequest"}}
        operation = {"post": {"requestBody": {"content": {_JSON: reference}}}}
        paths = {GENERATIONS: operation, "/v1/models": {"get": {}}} | ({"/v1/images/edits": {}} if edits else {})
        self._fields = fields
        self.lists = {
            "/v1/models": {"object": "list", "data": [{"id": model, "object": "model", "owned_by": "me"}]},
            "/openapi.json": {
                "openapi": "3.1.0",
                "paths": paths,
                "components": {"schemas": {"ImageRequest": {"properties": {name: {} for name in fields}}}},
            },
        }

    def drawn(self, body: dict[str, Any]) -> dict[str, Any]:
        if unknown := set(body) - set(self._fields):
            raise ValueError(f"{min(unknown)}: Extra inputs are not permitted")
        own = {"steps": body.get("num_inference_steps", 9), "guidance": body.get("guidance_scale")}
        return {"prompt": body["prompt"], **_sides(body, 1024), **own, "seed": body.get("seed"), "negative": ""}

    def error(self, text: str) -> Any:
        return {"detail": [{"loc": ["body"], "msg": text, "type": "value_error"}]}


class ImageServer:
    """A server of images.

    Args:
        kind: which program it is.
        picture: made of the width and the height; a PNG unless a test wants another.

    Attributes:
        drawn: what it understood of the requests it got, in order.
        asked: the bodies of these requests.
        gate: pictures wait at it; open unless a test closes it.
        began: set when a picture is begun.
        hung_up: set when the client of a picture is gone before it is done.
        failing: why the next picture fails; empty: it does not.
    """

    def __init__(self, kind: Kind, picture: bytes = b"") -> None:
        self.kind = kind
        self.drawn: list[dict[str, Any]] = []
        self.asked: list[dict[str, Any]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.began = asyncio.Event()
        self.hung_up = asyncio.Event()
        self.failing = ""
        self._picture = picture

    async def handle(self, request: HttpRequest, sink: Sink) -> None:
        """Answer one request: this is the `Handler`."""
        if request.method == "GET" and request.path in self.kind.lists:
            await send(sink, 200, _JSON, json.dumps(self.kind.lists[request.path]).encode())
        elif (request.method, request.path) == ("POST", GENERATIONS):
            body = await request.read_body(Bytes(MiB))
            await self._generate(json.loads(await body.examine(bytes)), sink)
        else:
            await send(sink, 404, "text/plain", b"Not Found")

    async def _generate(self, body: dict[str, Any], sink: Sink) -> None:
        self.asked.append(body)
        self.began.set()
        try:
            drawn = self.kind.drawn(body)
        except ValueError as error:
            await send(sink, 422, _JSON, json.dumps(self.kind.error(str(error))).encode())
            return
        self.drawn.append(drawn)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.hung_up.set()
            raise
        if self.failing:
            await send(sink, 500, _JSON, json.dumps(self.kind.error(self.failing)).encode())
            return
        made = self._picture or png(drawn["width"], drawn["height"], drawn["prompt"].encode())
        answer = {"created": 1_780_272_000, "data": [{"b64_json": base64.b64encode(made).decode()}]}
        await send(sink, 200, _JSON, json.dumps(answer).encode())


def _sides(body: dict[str, Any], default: int) -> dict[str, int]:
    width, _, height = str(body.get("size", f"{default}x{default}")).partition("x")
    return {"width": int(width), "height": int(height)}
