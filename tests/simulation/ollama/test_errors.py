"""Refusals of a body or of a model, row by row: what is wrong, and the status and the words of each endpoint for it."""

from typing import Any

import pytest

from herd.runtime.testing import run_virtual
from herd.simulation.http import call
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.ollama.server import FakeOllama
from tests.simulation.ollama.asking import HI, JSON, LLAMA, NOBODY, NOMIC, REST, ask, error, small_server

TRY_PULLING = 'model "{}" not found, try pulling it first'
NATIVE = tuple(f"/api/{name}" for name in ("generate", "chat", "embed", "embeddings", "show", "pull", "push", "create"))


@pytest.fixture
def fake() -> FakeOllama:
    return small_server()


# --- The body -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*NATIVE, "/api/copy", "/api/delete"])
@pytest.mark.parametrize("body", [b"", b" \n"])
async def test_an_empty_body_is_missing(fake: FakeOllama, path: str, body: bytes) -> None:
    answer = await ask(fake, path, body)
    assert error(answer) == (400, "missing request body")
    assert answer.header("Content-Type") == JSON


@pytest.mark.parametrize("path", [path for path in REST if path.startswith("/v1/")])
async def test_an_empty_body_of_the_v1_api_is_an_eof(fake: FakeOllama, path: str) -> None:
    answer = await ask(fake, path, b"")
    assert error(answer) == (400, "EOF")
    assert answer.header("Content-Type") == "application/json"


@pytest.mark.parametrize("path", [*NATIVE, "/api/copy", "/api/delete", *REST])
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"x", "invalid character 'x' looking for beginning of value"),
        (b'{"model":', "unexpected EOF"),
        (b"{model}", "invalid character 'm' looking for beginning of object key string"),
        (b'{"model":"a" "b"}', "invalid character '\"' after object key:value pair"),
    ],
)
async def test_what_is_not_json_gets_the_words_of_gos_decoder(
    fake: FakeOllama, path: str, body: bytes, words: str
) -> None:
    assert error(await ask(fake, path, body)) == (400, words)


UNFIT: list[tuple[str, Any, str]] = [
    ("/api/chat", {"model": 1}, "number into Go struct field ChatRequest.model of type string"),
    ("/api/chat", {"stream": "no"}, "string into Go struct field ChatRequest.stream of type bool"),
    ("/api/chat", {"messages": {}}, "object into Go struct field ChatRequest.messages of type []api.Message"),
    ("/api/chat", {"messages": ["hi"]}, "string into Go struct field ChatRequest.messages of type api.Message"),
    (
        "/api/chat",
        {"messages": [{"content": 1}]},
        "number into Go struct field ChatRequest.messages.content of type string",
    ),
    ("/api/chat", {"tools": "all"}, "string into Go struct field ChatRequest.tools of type api.Tools"),
    ("/api/generate", {"prompt": []}, "array into Go struct field GenerateRequest.prompt of type string"),
    ("/api/generate", {"raw": 1}, "number into Go struct field GenerateRequest.raw of type bool"),
    ("/api/generate", {"keep_alive": []}, "array into Go struct field .keep_alive of type api.Duration"),
    ("/api/embed", {"dimensions": 1.5}, "number 1.5 into Go struct field EmbedRequest.dimensions of type int"),
    ("/api/embed", {"truncate": 1}, "number into Go struct field EmbedRequest.truncate of type bool"),
    ("/api/embeddings", {"prompt": 1}, "number into Go struct field EmbeddingRequest.prompt of type string"),
    ("/api/show", {"name": True}, "bool into Go struct field ShowRequest.name of type string"),
    ("/api/pull", {"stream": 1}, "number into Go struct field PullRequest.stream of type bool"),
    ("/api/copy", {"source": 1}, "number into Go struct field CopyRequest.source of type string"),
    ("/api/create", {"files": []}, "array into Go struct field CreateRequest.files of type map[string]string"),
    (
        "/v1/chat/completions",
        {"max_tokens": "5"},
        "string into Go struct field ChatCompletionRequest.max_tokens of type int",
    ),
    ("/v1/completions", {"prompt": ["hi"]}, "array into Go struct field CompletionRequest.prompt of type string"),
    ("/v1/responses", {"stream": 1}, "number into Go struct field ResponsesRequest.stream of type bool"),
    ("/v1/messages", {"max_tokens": True}, "bool into Go struct field MessagesRequest.max_tokens of type int"),
    ("/api/chat", [], "array into Go value of type api.ChatRequest"),
    ("/v1/messages", [], "array into Go value of type anthropic.MessagesRequest"),
]


@pytest.mark.parametrize(("path", "body", "words"), UNFIT)
async def test_a_value_of_a_wrong_type_is_named_with_its_field(
    fake: FakeOllama, path: str, body: Any, words: str
) -> None:
    assert error(await ask(fake, path, body)) == (400, f"json: cannot unmarshal {words}")


# --- The model ----------------------------------------------------------------------------------------------------

NO_MODEL: list[tuple[str, int, str]] = [
    ("/api/generate", 404, "model '' not found"),
    ("/api/chat", 400, "model is required"),
    ("/api/embed", 404, "model '' not found"),
    ("/api/embeddings", 400, "model is required"),
    ("/api/show", 400, "model is required"),
    ("/api/pull", 400, "invalid model name"),
    ("/api/push", 400, "model is required"),
    ("/api/delete", 400, "model is required"),
    ("/api/copy", 400, 'source "" is invalid'),
    ("/api/create", 400, "invalid model name"),
    ("/v1/chat/completions", 400, "model is required"),
    ("/v1/completions", 404, "model '' not found"),
    ("/v1/responses", 400, "model is required"),
    ("/v1/messages", 400, "model is required"),
]


@pytest.mark.parametrize(("path", "status", "words"), NO_MODEL)
async def test_a_request_without_a_model(fake: FakeOllama, path: str, status: int, words: str) -> None:
    assert error(await ask(fake, path, REST.get(path, {}))) == (status, words)
    if path != "/api/copy":
        assert error(await ask(fake, path, {**REST.get(path, {}), "model": "  "})) == (status, words)


INVALID_NAME = "invalid model name"


@pytest.mark.parametrize("name", ["no way!", "a:b:c", "/a", "a/", "a/b/c/d:e", ".a", "a" * 81, "\ud800"])
@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/api/generate", INVALID_NAME),
        ("/api/chat", INVALID_NAME),
        ("/api/embed", INVALID_NAME),
        ("/api/embeddings", INVALID_NAME),
        ("/api/show", INVALID_NAME),
        ("/api/pull", INVALID_NAME),
        ("/api/create", INVALID_NAME),
        ("/api/delete", 'name "{}" is invalid'),
        ("/v1/chat/completions", INVALID_NAME),
    ],
)
async def test_what_can_be_no_name(fake: FakeOllama, path: str, name: str, words: str) -> None:
    answer = await ask(fake, path, {**REST.get(path, {}), "model": name})
    assert error(answer) == (400, words.format(name.replace("\ud800", "\ufffd")))


@pytest.mark.parametrize("end", ["source", "destination"])
async def test_what_can_be_no_name_of_a_copy(fake: FakeOllama, end: str) -> None:
    names = {"source": LLAMA, "destination": "mine", end: "no way!"}
    assert error(await ask(fake, "/api/copy", names)) == (400, f'{end} "no way!" is invalid')


UNKNOWN: list[tuple[str, str, str]] = [
    ("/api/generate", NOBODY, "model 'Nobody:7b' not found"),
    ("/api/chat", NOBODY, "model 'Nobody:7b' not found"),
    ("/api/chat", "library/Nobody", "model 'library/Nobody' not found"),
    ("/api/embed", NOBODY, TRY_PULLING.format(NOBODY)),
    ("/api/embeddings", NOBODY, TRY_PULLING.format(NOBODY)),
    ("/api/show", "nobody", "model 'nobody:latest' not found"),
    ("/api/show", "library/nobody:7b", "model 'nobody:7b' not found"),
    ("/api/delete", NOBODY, "model 'Nobody:7b' not found"),
    ("/v1/chat/completions", NOBODY, "model 'Nobody:7b' not found"),
    ("/v1/completions", NOBODY, "model 'Nobody:7b' not found"),
    ("/v1/responses", NOBODY, "model 'Nobody:7b' not found"),
    ("/v1/messages", NOBODY, "model 'Nobody:7b' not found"),
    ("/v1/embeddings", NOBODY, TRY_PULLING.format(NOBODY)),
]


@pytest.mark.parametrize(("path", "name", "words"), UNKNOWN)
async def test_an_unknown_model_is_a_404_that_echoes_its_name(
    fake: FakeOllama, path: str, name: str, words: str
) -> None:
    assert error(await ask(fake, path, {**REST.get(path, {}), "model": name})) == (404, words)


async def test_an_unknown_model_cannot_be_copied(fake: FakeOllama) -> None:
    answer = await ask(fake, "/api/copy", {"source": NOBODY, "destination": "mine"})
    assert error(answer) == (404, 'model "Nobody:7b" not found')


async def test_an_unknown_model_of_the_list_is_named_with_its_tag(fake: FakeOllama) -> None:
    answer = await call(fake.handle, "GET", "/v1/models/nobody")
    assert error(answer) == (404, "model 'nobody:latest' not found")
    assert answer.json["error"]["type"] == "not_found_error"


@pytest.mark.parametrize(
    ("path", "last"),
    [
        ("/api/pull", b'{"error":"pull model manifest: file does not exist"}\n'),
        ("/api/push", b'{"error":"file does not exist"}\n'),
    ],
)
async def test_an_unknown_model_breaks_the_stream_of_a_transfer(fake: FakeOllama, path: str, last: bytes) -> None:
    answer = await ask(fake, path, {"model": NOBODY})
    assert (answer.status, answer.pieces[-1], answer.finished) == (200, last, True)
    assert len(answer.pieces) > 1
    whole = await ask(fake, path, {"model": NOBODY, "stream": False})
    assert (whole.status, whole.body + b"\n", whole.header("Content-Type")) == (500, last, JSON)


# --- The forms of errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "invalid_request_error"), (404, "not_found_error"), (500, "api_error"), (503, "api_error")],
)
async def test_an_error_of_the_v1_api_is_an_object(fake: FakeOllama, status: int, kind: str) -> None:
    fake.fail_next(status, "no")
    answer = await ask(fake, "/v1/chat/completions", {"model": LLAMA, "messages": HI})
    assert answer.status == status
    assert answer.json == {"error": {"message": "no", "type": kind, "param": None, "code": None}}
    assert answer.header("Content-Type") == "application/json"
    assert answer.body.endswith(b"}\n")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (429, "rate_limit_error"),
        (503, "overloaded_error"),
        (529, "overloaded_error"),
        (500, "api_error"),
    ],
)
async def test_an_error_of_a_message_is_anthropics(fake: FakeOllama, status: int, kind: str) -> None:
    fake.fail_next(status, "no")
    answer = await ask(fake, "/v1/messages", {"model": LLAMA, **REST["/v1/messages"]})
    assert answer.status == status
    request_id = answer.json.pop("request_id")
    assert (len(request_id), request_id[:4]) == (28, "req_")
    assert answer.json | {"request_id": request_id} == {
        "type": "error",
        "error": {"type": kind, "message": "no"},
        "request_id": request_id,
    }


@pytest.mark.parametrize("path", list(REST))
def test_a_full_queue_is_busy_and_does_not_say_when_to_come_again(path: str) -> None:
    async def story() -> None:
        fake = FakeOllama(PROFILES["mini-pc"], CATALOG.values(), max_queue=0)
        model = NOMIC if "embed" in path else LLAMA
        answer = await ask(fake, path, {**REST[path], "model": model})
        assert error(answer) == (503, "server busy, please try again.  maximum pending requests exceeded")
        assert answer.header("Retry-After") is None

    run_virtual(story())
