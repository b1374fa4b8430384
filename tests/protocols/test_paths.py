import pytest

from herd.errors import RequestError
from herd.protocols.answers import error_answer
from herd.protocols.paths import (
    ENDPOINTS,
    Endpoint,
    EndpointKind,
    blob_target,
    find,
    node_order,
    pinned_model,
    shown_model,
    shown_node,
    story_id,
)
from herd.types import Dialect

DIGEST = "sha256:" + "0aF9" * 16


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_every_row_is_found_by_each_of_its_methods(endpoint: Endpoint) -> None:
    tails = {
        "ollama.blobs": DIGEST,
        "herd.story": "my-id",
        "herd.node": "den",
        "herd.order": "den/drain",
        "herd.pins": "m",
        "openai.model": "m",
    }
    path = endpoint.path + tails.get(endpoint.name, "")
    for method in endpoint.methods:
        assert find(method, path) is endpoint


def test_what_changes_something_is_marked_and_to_ask_for_it_changes_nothing() -> None:
    marked = {
        (method, endpoint.path) for endpoint in ENDPOINTS for method in endpoint.methods if endpoint.changed_by(method)
    }
    assert marked == {
        *(("POST", f"/api/{name}") for name in ("pull", "push", "create", "copy", "blobs/")),
        ("DELETE", "/api/delete"),
        ("POST", "/herd/v1/nodes/"),
        ("POST", "/herd/v1/pins/"),
        ("DELETE", "/herd/v1/pins/"),
    }


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/models/llama3.2:3b", "llama3.2:3b"),
        ("/v1/models/Qwen/Qwen3-8B", "Qwen/Qwen3-8B"),
        ("/v1/models/Qwen%2FQwen3-8B/", "Qwen/Qwen3-8B"),
        ("//v1/models//x", "x"),
    ],
)
def test_the_name_of_a_model_is_the_rest_of_its_path(path: str, name: str) -> None:
    assert (find("GET", path).name, shown_model(path)) == ("openai.model", name)


@pytest.mark.parametrize(
    "path",
    ["/api/chat", "//api/chat", "/api//chat/", "/api/./chat", "/x/../api/chat", "/../api/chat", "/api/ch%61t"],
)
def test_paths_are_cleaned_and_served_without_a_redirect(path: str) -> None:
    endpoint = find("POST", path)
    assert (endpoint.name, endpoint.dialect, endpoint.kind) == ("ollama.chat", Dialect.OLLAMA, EndpointKind.INFERENCE)


@pytest.mark.parametrize(
    ("path", "request_id"),
    [
        ("/herd/v1/requests/req_1", "req_1"),
        ("/herd/v1/requests/a/b:7", "a/b:7"),
        ("/herd/v1/requests/a%2Fb%3A7", "a/b:7"),
        ("/herd/v1/requests/a%2F%2Fb%2F", "a//b/"),
        ("/herd/v1/requests/%2E%2E%2Fstatus", "../status"),
        ("//herd/v1/./requests//req_1/", "req_1"),
    ],
)
def test_the_id_of_a_story_is_the_rest_of_its_path_and_nothing_encoded_in_it_is_cleaned(
    path: str, request_id: str
) -> None:
    assert (find("GET", path).name, story_id(path)) == ("herd.story", request_id)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/herd/v1/requests/", "herd.requests"),
        ("/herd/v1/requests/../status", "herd.status"),
        ("/api/tags", "ollama.tags"),
    ],
)
def test_what_has_no_id_is_no_story(path: str, name: str) -> None:
    assert (find("GET", path).name, story_id(path)) == (name, "")


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/api",
        "/v1/chat/completions/more",
        "/API/chat",
        "/v1/images/variations",
        "/api/blobs/",
        "/api/blobs/a/b",
    ],
)
def test_an_unknown_path_is_a_404_in_plain_text(path: str) -> None:
    with pytest.raises(RequestError) as caught:
        find("GET", path)
    reply = error_answer(None, caught.value)
    assert (reply.status, reply.body) == (404, b"404 page not found")
    assert reply.headers == (("Content-Type", "text/plain"), ("Content-Length", "18"))


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/api/chat", "POST"),
        ("DELETE", "/v1/chat/completions", "POST"),
        ("POST", "/api/tags", "GET, HEAD"),
        ("HEAD", "/api/ps", "GET"),
        ("OPTIONS", "/", "GET, HEAD"),
        ("POST", "/herd/v1/nodes/den", "GET"),
        ("GET", "/herd/v1/nodes/den/drain", "POST"),
    ],
)
def test_a_wrong_method_is_a_405_in_plain_text_that_says_which_are_right(method: str, path: str, allow: str) -> None:
    with pytest.raises(RequestError) as caught:
        find(method, path)
    reply = error_answer(None, caught.value)
    assert (reply.status, reply.body) == (405, b"405 method not allowed")
    assert dict(reply.headers)["Allow"] == allow


def test_names_are_unique_and_so_is_what_a_method_means_on_a_path() -> None:
    meanings = [(method, endpoint.path) for endpoint in ENDPOINTS for method in endpoint.methods]
    assert len({endpoint.name for endpoint in ENDPOINTS}) == len(ENDPOINTS)
    assert len(set(meanings)) == len(meanings)


@pytest.mark.parametrize(
    ("path", "node"),
    [
        ("/herd/v1/nodes/den", "den"),
        ("//herd/./v1/nodes/my%20den%2F1/", "my den/1"),
        ("/herd/v1/nodes/drain", "drain"),
    ],
)
def test_a_node_is_named_at_the_end_of_its_path(path: str, node: str) -> None:
    assert (find("GET", path).name, shown_node(path)) == ("herd.node", node)


@pytest.mark.parametrize("path", ["/herd/v1/nodes/", "/herd/v1/nodes", "/herd/v1/nodes/den/explode"])
def test_what_names_no_node_shows_none(path: str) -> None:
    assert shown_node(path) == ""
    with pytest.raises(RequestError):
        find("GET", path)


@pytest.mark.parametrize("sent", [f"/api/blobs/{DIGEST}", f"//api/./blobs/{DIGEST.replace(':', '%3A')}/"])
def test_the_path_of_a_blob_is_cleaned(sent: str) -> None:
    assert blob_target(sent) == f"/api/blobs/{DIGEST}"


@pytest.mark.parametrize("name", ["sha256:12", DIGEST + "0", DIGEST[1:], "md5:" + "0" * 64, DIGEST + "%0A", "é" * 71])
def test_what_is_no_digest_is_a_400_in_ollamas_words(name: str) -> None:
    with pytest.raises(RequestError, match="invalid digest format") as caught:
        blob_target(f"/api/blobs/{name}")
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("path", "order"),
    [
        ("/herd/v1/nodes/den/drain", ("den", "drain")),
        ("//herd/./v1/nodes/den/pause/", ("den", "pause")),
        ("/herd/v1/nodes/my%20den%2F1/resume", ("my den/1", "resume")),
        ("/herd/v1/nodes/a/b/drain", ("a/b", "drain")),
        ("/herd/v1/nodes/%2E%2E/drain", ("..", "drain")),
        ("/herd/v1/nodes/drain/drain", ("drain", "drain")),
    ],
)
def test_a_node_is_named_in_the_middle_of_a_path_and_told_something_at_its_end(
    path: str, order: tuple[str, str]
) -> None:
    assert (find("POST", path).name, node_order(path)) == ("herd.order", order)


@pytest.mark.parametrize(
    "path",
    [
        "/herd/v1/nodes/den",
        "/herd/v1/nodes/drain",
        "/herd/v1/nodes//drain",
        "/herd/v1/nodes/den/explode",
        "/herd/v1/drain",
    ],
)
def test_what_names_no_node_or_tells_it_nothing_is_no_order(path: str) -> None:
    assert node_order(path) is None
    with pytest.raises(RequestError):
        find("POST", path)


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/herd/v1/pins/llama3.2:3b", "llama3.2:3b"),
        ("/herd/v1/pins/hf.co/bartowski/Llama-3.2-3B:Q4_K_M", "hf.co/bartowski/Llama-3.2-3B:Q4_K_M"),
        ("/herd/v1/pins/hf.co%2Fbartowski%2FLlama%3AQ4", "hf.co/bartowski/Llama:Q4"),
    ],
)
def test_the_model_of_a_pin_is_the_rest_of_its_path(path: str, model: str) -> None:
    assert (find("DELETE", path).name, pinned_model(path)) == ("herd.pins", model)


def test_a_pin_without_a_model_is_none() -> None:
    with pytest.raises(RequestError, match="404"):
        find("POST", "/herd/v1/pins/")
