"""What a client gets for a request that cannot be served: Ollama's and OpenAI's own answers, to the byte."""

import asyncio
import json
from dataclasses import dataclass

import pytest

from tests.e2e.house import House, question

pytestmark = pytest.mark.asyncio(loop_scope="package")

TEXT = "text/plain"
OLLAMA = "application/json; charset=utf-8"
OPENAI = "application/json"


@dataclass(frozen=True, slots=True)
class Case:
    """A request, and the one right answer to it."""

    method: str
    path: str
    body: bytes
    status: int
    content_type: str
    answer: str
    allow: str | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.body[:24].decode(errors='replace')!r}"


def ollama(path: str, body: bytes, status: int, text: str) -> Case:
    return Case("POST", path, body, status, OLLAMA, json.dumps({"error": text}, separators=(",", ":")))


def openai(body: bytes, status: int, text: str, kind: str) -> Case:
    error = {"error": {"message": text, "type": kind, "param": None, "code": None}}
    return Case("POST", "/v1/chat/completions", body, status, OPENAI, json.dumps(error, separators=(",", ":")) + "\n")


def wrong_method(method: str, path: str, allow: str) -> Case:
    return Case(method, path, b"", 405, TEXT, "405 method not allowed", allow)


def no_page(method: str, path: str) -> Case:
    return Case(method, path, b"", 404, TEXT, "404 page not found")


NO_MODEL = b'{"messages":[{"role":"user","content":"Hello"}]}'
LOOKING = "looking for beginning of"

CASES = [
    ollama("/api/chat", b"", 400, "missing request body"),
    ollama("/api/generate", b"", 400, "missing request body"),
    openai(b"", 400, "EOF", "invalid_request_error"),
    ollama("/api/chat", NO_MODEL, 400, "model is required"),
    ollama("/api/generate", b"{}", 404, "model '' not found"),
    openai(NO_MODEL, 400, "model is required", "invalid_request_error"),
    openai(b'{"model":"llama3.2:3b","messages":[]}', 400, "[] is too short - 'messages'", "invalid_request_error"),
    ollama("/api/chat", b"xyz", 400, f"invalid character 'x' {LOOKING} value"),
    ollama("/api/generate", b"{xyz}", 400, f"invalid character 'x' {LOOKING} object key string"),
    ollama("/api/chat", b'{"model": "a"', 400, "unexpected EOF"),
    openai(b"xyz", 400, f"invalid character 'x' {LOOKING} value", "invalid_request_error"),
    openai(b'{"model":', 400, "unexpected EOF", "invalid_request_error"),
    wrong_method("GET", "/api/chat", "POST"),
    wrong_method("DELETE", "/api/tags", "GET, HEAD"),
    wrong_method("GET", "/v1/chat/completions", "POST"),
    wrong_method("POST", "/v1/models", "GET"),
    wrong_method("POST", "/", "GET, HEAD"),
    no_page("GET", "/nowhere"),
    no_page("POST", "/api/nothing"),
    no_page("GET", "/v1/nothing"),
    no_page("GET", "/herd/v1/nothing"),
]


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_it_is_answered_as_ollama_and_openai_answer(house: House, case: Case) -> None:
    async with house.client.request(case.method, house.url + case.path, data=case.body or None) as answer:
        body = await answer.text()
    assert (answer.status, answer.headers["Content-Type"], body) == (case.status, case.content_type, case.answer)
    assert answer.headers.get("Allow") == case.allow
    assert answer.headers["X-Request-Id"]


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions"])
async def test_a_body_that_is_declared_too_long_is_refused_before_it_is_sent(house: House, path: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", house.router_port)
    writer.write(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {2**40}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    body = json.loads(await reader.read(1000))
    writer.close()
    await writer.wait_closed()
    assert head.startswith(b"HTTP/1.1 413 ")
    sentence = body["error"] if path == "/api/chat" else body["error"]["message"]
    assert sentence == "request body too large: the limit is 268435456 bytes (herd --max-body)"


async def test_what_can_be_no_name_is_told_so(house: House) -> None:
    async with house.chat("Ünheard") as answer:
        assert (answer.status, await answer.json()) == (400, {"error": "invalid model name"})


async def test_what_a_node_refuses_comes_in_its_own_words(house: House) -> None:
    async with house.chat("llama3.2:3b", think=True) as answer:
        assert (answer.status, await answer.json()) == (400, {"error": '"llama3.2:3b" does not support thinking'})


@pytest.mark.parametrize("name", ["nobody/has:this", "unheard"])
async def test_a_model_that_nobody_has_is_not_found(house: House, name: str) -> None:
    async with house.chat(name) as answer:
        assert (answer.status, answer.headers["Content-Type"]) == (404, OLLAMA)
        assert await answer.json() == {"error": f"model '{name}' not found"}
    async with house.post("/v1/chat/completions", json=question(name)) as answer:
        assert (answer.status, answer.headers["Content-Type"]) == (404, OPENAI)
        error = (await answer.json())["error"]
    expected = {"message": f"model '{name}' not found", "type": "not_found_error", "param": None, "code": None}
    assert error == expected
