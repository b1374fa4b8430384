"""HTTP as the fake speaks it: paths, methods, redirects, origins, hosts, and what it makes of a body."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.actors.ports import Headers
from herd.simulation.http import InMemoryRequest, RecordingSink, call
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.ollama.front import Routes, redirect
from herd.simulation.ollama.server import PATHS, FakeOllama

HI = [{"role": "user", "content": "hi"}]
POSTS = ("generate", "chat", "embed", "embeddings", "show", "pull", "push", "create", "copy")


@pytest.fixture
def fake() -> FakeOllama:
    return FakeOllama(PROFILES["mini-pc"].faster(1e6), CATALOG.values())


async def ask(fake: FakeOllama, method: str, target: str, headers: Headers = (), body: bytes = b"") -> RecordingSink:
    sink = RecordingSink()
    await fake.handle(InMemoryRequest(method, target, body, headers), sink)
    assert sink.finished
    return sink


# --- Paths and methods --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/api/nothing", "/v1", "/api", "/v1/messages/count_tokens", "/v1/images/generations", "/api/blobs/a/b"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_unknown_path_is_a_404_in_plain_text(fake: FakeOllama, method: str, path: str) -> None:
    page = await ask(fake, method, path)
    assert (page.status, page.header("Content-Type"), page.body) == (404, "text/plain", b"404 page not found")


WRONG: list[tuple[str, str, str]] = [
    ("POST", "/", "GET, HEAD"),
    ("POST", "/api/version", "GET, HEAD"),
    ("DELETE", "/api/tags", "GET, HEAD"),
    ("POST", "/api/ps", "GET"),
    ("HEAD", "/api/ps", "GET"),
    ("POST", "/api/status", "GET"),
    ("POST", "/api/delete", "DELETE"),
    ("GET", "/api/blobs/sha256:0", "POST, HEAD"),
    ("POST", "/v1/models", "GET"),
    ("HEAD", "/v1/models", "GET"),
    ("DELETE", "/v1/models/a", "GET"),
    *(("GET", f"/api/{name}", "POST") for name in POSTS),
    *(("HEAD", f"/v1/{name}", "POST") for name in ("chat/completions", "embeddings", "responses", "messages")),
    ("OPTIONS", "/api/chat", "POST"),
]


@pytest.mark.parametrize(("method", "path", "allow"), WRONG)
async def test_a_wrong_method_is_a_405_in_plain_text(fake: FakeOllama, method: str, path: str, allow: str) -> None:
    page = await ask(fake, method, path, (("Host", "127.0.0.1:11434"),))
    assert (page.status, page.header("Content-Type"), page.header("Allow")) == (405, "text/plain", allow)
    assert page.body == (b"" if method == "HEAD" else b"405 method not allowed")


MOVED: list[tuple[str, str, int, str]] = [
    ("GET", "/api/tags/", 301, "/api/tags"),
    ("HEAD", "/api/tags/", 307, "/api/tags"),
    ("POST", "/api/chat/", 307, "/api/chat"),
    ("DELETE", "/api/delete/", 307, "/api/delete"),
    ("GET", "/v1/models/", 301, "/v1/models"),
    ("POST", "//api/chat", 307, "/api/chat"),
    ("GET", "//api/tags", 307, "/api/tags"),
    ("POST", "/v1//chat/completions", 307, "/v1/chat/completions"),
    ("POST", "/a/../api/chat", 307, "/api/chat"),
    ("POST", "/api/./chat?x=1&y", 307, "/api/chat?x=1&y"),
    ("GET", "//a%0d%0ab", 307, "/a%0D%0Ab"),
]


@pytest.mark.parametrize(("method", "target", "status", "location"), MOVED)
async def test_a_path_that_is_not_clean_is_answered_with_the_clean_one(
    fake: FakeOllama, method: str, target: str, status: int, location: str
) -> None:
    page = await ask(fake, method, target)
    assert (page.status, page.header("Location")) == (status, location)
    assert bool(page.body) == (method == "GET")


async def test_a_slash_at_the_end_leads_nowhere_by_a_wrong_method(fake: FakeOllama) -> None:
    assert (await ask(fake, "GET", "/api/chat/")).status == 404


@given(st.text(alphabet="/.ab", max_size=12))
def test_a_redirect_leads_to_a_path_that_is_not_redirected(path: str) -> None:
    routes = Routes({"/": {"GET": 1}, "/a": {"GET": 1}, "/a/*": {"GET": 1}, "/a/b": {"GET": 1}})
    target = f"/{path}"
    for _ in range(3):  # cleaned, then without the slash at its end
        moved = redirect(InMemoryRequest("GET", target), routes)
        if moved is None:
            return
        target = dict(moved.headers)["Location"]
    raise AssertionError(target)


async def test_a_path_is_the_same_with_its_letters_encoded(fake: FakeOllama) -> None:
    assert (await ask(fake, "GET", "/api/%74ags")).status == 200


async def test_requests_are_counted_by_path_and_unknown_ones_together(fake: FakeOllama) -> None:
    for path in ("/api/tags", "/api/tags", "/nowhere", "/elsewhere"):
        await ask(fake, "GET", path)
    assert dict(fake.requests) == {"/api/tags": 2, "": 2}


async def test_of_paths_without_end_only_so_many_are_counted_apart(fake: FakeOllama) -> None:
    for number in range(PATHS + 2):
        await ask(fake, "HEAD", f"/api/blobs/sha256:{number:064x}")
    assert len(fake.requests) == PATHS + 1
    assert fake.requests[""] == 2


# --- Origins and hosts --------------------------------------------------------------------------------------------

OWN = [
    "http://localhost",
    "https://localhost:3000",
    "http://127.0.0.1:8080",
    "https://0.0.0.0",
    "app://obsidian.md",
    "file://",
    "tauri://localhost",
    "vscode-webview://abc",
    "vscode-file://vscode-app",
]


@pytest.mark.parametrize(
    "headers", [(), (("Origin", "http://box.local:11434"),), (("Origin", "https://box.local:11434"),)]
)
async def test_a_request_from_nowhere_or_from_here_gets_no_headers_for_browsers(
    fake: FakeOllama, headers: Headers
) -> None:
    page = await ask(fake, "GET", "/api/tags", (("Host", "box.local:11434"), *headers))
    assert page.status == 200
    assert page.header("Access-Control-Allow-Origin") is None


@pytest.mark.parametrize("origin", OWN)
async def test_an_origin_on_this_machine_is_echoed(fake: FakeOllama, origin: str) -> None:
    for path in ("/api/tags", "/api/nothing"):
        page = await ask(fake, "GET", path, (("origin", origin),))
        assert page.header("Access-Control-Allow-Origin") == origin
        assert page.header("Vary") == "Origin"
        assert page.header("Access-Control-Allow-Credentials") is None


async def test_a_streamed_answer_tells_the_browser_too(fake: FakeOllama) -> None:
    body = b'{"model":"llama3.2:3b","prompt":"hi"}'
    page = await ask(fake, "POST", "/api/generate", (("Origin", OWN[0]),), body)
    assert (page.status, page.header("Access-Control-Allow-Origin")) == (200, OWN[0])


@pytest.mark.parametrize(
    "origin",
    [
        "https://example.org",
        "null",
        "http://localhost.example.org",
        "http://localhost:",
        "ftp://localhost",
        "localhost",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_another_origin_is_refused_by_any_method(fake: FakeOllama, method: str, origin: str) -> None:
    page = await ask(fake, method, "/api/tags", (("Origin", origin),))
    assert (page.status, page.body, page.header("Access-Control-Allow-Origin")) == (403, b"", None)


async def test_a_preflight_says_what_a_page_may_do(fake: FakeOllama) -> None:
    page = await ask(fake, "OPTIONS", "/api/chat", (("Origin", OWN[0]), ("Access-Control-Request-Method", "POST")))
    assert (page.status, page.body, page.header("Content-Length")) == (204, b"", None)
    assert page.header("Access-Control-Allow-Origin") == OWN[0]
    assert page.header("Access-Control-Allow-Methods") == "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS"
    allowed = page.header("Access-Control-Allow-Headers") or ""
    assert allowed.startswith("Authorization,Content-Type,User-Agent,Accept,X-Requested-With,Openai-Beta,X-Stainless-")
    assert page.header("Access-Control-Max-Age") == "43200"
    vary = [value for name, value in page.headers if name == "Vary"]
    assert vary == ["Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers"]


HOSTS = [
    ("127.0.0.1:11434", 200),
    ("[::1]:11434", 200),
    ("192.168.1.5", 200),
    ("0.0.0.0:11434", 200),
    ("localhost", 200),
    ("LOCALHOST:11434", 200),
    ("box.local:11434", 200),
    ("ollama.internal", 200),
    ("a.localhost", 200),
    ("", 200),
    ("8.8.8.8", 403),
    ("evil.example.org", 403),
    ("localhost.example.org:11434", 403),
    ("[bad", 403),
]


@pytest.mark.parametrize(("host", "status"), HOSTS)
async def test_a_host_that_is_not_of_this_house_is_refused(fake: FakeOllama, host: str, status: int) -> None:
    page = await ask(fake, "GET", "/api/version", (("Host", host),))
    assert page.status == status
    assert bool(page.body) == (status == 200)


async def test_options_are_fine_for_a_name_of_this_house(fake: FakeOllama) -> None:
    assert (await ask(fake, "OPTIONS", "/api/chat", (("Host", "localhost:11434"),))).status == 204
    assert (await ask(fake, "OPTIONS", "/api/chat", (("Host", "127.0.0.1:11434"),))).status == 405


# --- Bodies and names ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b'{"Model":"llama3.2:3b","PROMPT":"hi","Stream":false}',
        b'{"model":"nobody","prompt":"hi","stream":true,"model":"llama3.2:3b","stream":false}',
        b'{"model":"nobody","prompt":"hi","MODEL":"llama3.2:3b","stream":false}',
        b'{"model":"llama3.2:3b","prompt":"hi","stream":false} trailing {"bytes"',
        b'\n {"model":" llama3.2:3b\\t","prompt":"hi","stream":false,"unknown":{"a":[1,2]}}',
        b'{"model":"llama3.2:3b","prompt":"hi","stream":false,"system":null,"options":null,"keep_alive":null}',
    ],
    ids=["any case", "the last of two", "the last of two cases", "trailing bytes", "spaces", "nulls"],
)
async def test_a_body_is_read_as_go_reads_it(fake: FakeOllama, body: bytes) -> None:
    answer = await ask(fake, "POST", "/api/generate", (), body)
    assert (answer.status, answer.json["model"], answer.json["done"]) == (200, "llama3.2:3b", True)


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain", "", "multipart/form-data"])
async def test_the_type_of_a_body_is_not_looked_at(fake: FakeOllama, content_type: str) -> None:
    headers: Headers = (("Content-Type", content_type), ("Authorization", "Bearer anything"))
    body = b'{"model":"llama3.2:3b","prompt":"hi","stream":false}'
    assert (await ask(fake, "POST", "/api/generate", headers, body)).status == 200


NAMES = [
    ("qwen3:8b", "qwen3:8b"),
    ("QWEN3:8B", "qwen3:8b"),
    ("library/qwen3:8b", "qwen3:8b"),
    ("registry.ollama.ai/library/qwen3:8b", "qwen3:8b"),
    ("Registry.Ollama.AI/Library/Qwen3:8B", "qwen3:8b"),
    ("qwen3:8b:local", "qwen3:8b"),
    ("nomic-embed-text", "nomic-embed-text:latest"),
    ("library/nomic-embed-text:latest", "nomic-embed-text:latest"),
]


@pytest.mark.parametrize(("name", "listed"), NAMES)
async def test_a_model_has_many_names_and_one_in_lists(fake: FakeOllama, name: str, listed: str) -> None:
    body: dict[str, Any] = {"model": name, "input": "hi"}
    answer = await call(fake.handle, "POST", "/api/embed", body)
    assert (answer.status, answer.json["model"]) == (200, name)
    assert list(fake.resident) == [listed]


@pytest.mark.parametrize("name", ["ollama.com/library/qwen3:8b", "me/qwen3:8b", "qwen3", "qwen3:8"])
async def test_another_host_namespace_or_tag_is_another_model(fake: FakeOllama, name: str) -> None:
    assert (await call(fake.handle, "POST", "/api/embed", {"model": name, "input": "hi"})).status == 404


async def test_a_name_with_a_slash_cannot_be_asked_for_in_a_path(fake: FakeOllama) -> None:
    for path in ("/v1/models/library/qwen3:8b", "/v1/models/library%2Fqwen3:8b"):
        assert (await ask(fake, "GET", path)).body == b"404 page not found"
    assert (await ask(fake, "GET", "/v1/models/qwen3:8b")).json["id"] == "qwen3:8b"
