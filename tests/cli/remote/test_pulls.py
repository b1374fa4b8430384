"""`herd pull`: what it asks of a router, and how it ends."""

import json

import pytest

from tests.cli.command_line import CommandLine
from tests.cli.stub_router import Reply, StubRouter

DIGEST = "sha256:14316704286ddeae99db8699c13d8c5a9e010aea7edd980f5691c2760284158d"
SUCCESS = b'{"status":"success"}\n'
MANIFEST = b'{"status":"pulling manifest"}\n'


def part(done: int, total: int = 1000 * 2**20) -> bytes:
    line = {"status": f"pulling {DIGEST[7:19]}", "digest": DIGEST, "total": total, "completed": done}
    return json.dumps(line).encode() + b"\n"


def told(*lines: bytes, broken: bool = False) -> Reply:
    headers = (("Content-Type", "application/x-ndjson"), ("X-Herd-Node", "den"))
    return Reply(b"".join(lines), headers=headers, broken=broken)


WHOLE = told(MANIFEST, part(0), part(299 * 2**20), part(310 * 2**20), part(1000 * 2**20), MANIFEST, SUCCESS)


def test_on_a_pipe_it_says_each_thing_once_and_every_tenth(run: CommandLine, stub: StubRouter) -> None:
    stub.replies["/api/pull"] = WHOLE
    ended = run(f"herd pull hf.co/x/llama:Q4 --router-url {stub.url}")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "to den",
        "pulling manifest",
        *(f"pulling 14316704286d {share} of 1000 MiB" for share in ("0%", "20%", "30%", "100%")),
        "success",
    ]
    ((method, _, body, headers),) = stub.asked
    assert (method, json.loads(body)) == ("POST", {"model": "hf.co/x/llama:Q4", "stream": True})
    assert headers["content-type"] == "application/json"
    assert "authorization" not in headers


def test_it_names_the_node_and_sends_the_key(run: CommandLine, stub: StubRouter) -> None:
    stub.replies["/api/pull?node=my%2Fnode"] = told(SUCCESS)
    ended = run(f"herd pull m --node my/node --admin-key sesame-and --router-url {stub.url}")
    assert (ended.code, ended.err) == (0, "")
    assert stub.asked[0][3]["authorization"] == "Bearer sesame-and"


def test_with_json_it_passes_on_what_the_router_says(run: CommandLine, stub: StubRouter) -> None:
    stub.replies["/api/pull"] = WHOLE
    ended = run(f"herd pull m --json --router-url {stub.url}")
    assert (ended.code, ended.out.encode()) == (0, WHOLE.body)


def test_an_error_in_the_stream_is_its_end(run: CommandLine, stub: StubRouter) -> None:
    error = b'{"error":"pull model manifest: file does not exist\\u001b[2J"}\n'
    stub.replies["/api/pull"] = told(MANIFEST, error)
    ended = run(f"herd pull nope --router-url {stub.url}")
    assert (ended.code, ended.err) == (1, "error: pull model manifest: file does not exist\\x1b[2J\n")
    assert ended.out == "to den\npulling manifest\n"
    ended = run(f"herd pull nope --json --router-url {stub.url}")
    assert (ended.code, ended.out.encode()) == (1, MANIFEST + error)
    assert ended.err.startswith("error: pull model manifest")


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (told(MANIFEST), "the router ended the pull before the model was there"),
        (told(MANIFEST, part(5), broken=True), "the router is gone, and the pull with it"),
        (told(b"not json\n"), "the router ended the pull before the model was there"),
        (told(b"x" * 100_000), "the router tells its progress in another way: is it of another version?"),
        (Reply(b'{"error":"no machine with Ollama is ready"}', 503), "error: no machine with Ollama is ready"),
        (Reply(b'{"error":"unauthorized"}', 401), "wants a key for this: give one of its own with --admin-key"),
        (Reply(b"<html>", 200), "the router ended the pull before the model was there"),
        (Reply(b"<html>", 502), "does not answer this as a router does (502): is it of another version?"),
        (Reply(b"<html>", 400), "does not answer this as a router does (400): does it want https://?"),
    ],
)
def test_what_is_no_success_is_said_in_a_sentence(
    run: CommandLine, stub: StubRouter, reply: Reply, sentence: str
) -> None:
    stub.replies["/api/pull"] = reply
    ended = run(f"herd pull m --router-url {stub.url}")
    assert ended.code == 1
    assert sentence in ended.err
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize("line", ['pull ""', 'pull m --node ""', "pull", "pull m --router-url x"])
def test_wrong_usage_asks_nobody(run: CommandLine, stub: StubRouter, line: str) -> None:
    ended = run(f"herd {line}", {"HERD_ROUTER_URL": stub.url})
    assert (ended.code, ended.out, stub.asked) == (2, "", [])
