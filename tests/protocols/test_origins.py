"""Names and origins: which web pages reach the router, and what they are answered."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from herd.errors import RequestError
from herd.protocols.headers import Headers
from herd.protocols.origins import Hosts, Origins, Page, host_name
from herd.protocols.visits import visit
from herd.simulation.http import InMemoryRequest
from herd.simulation.ollama.front import check_origin
from herd.simulation.ollama.pages import Page as OllamaPage

HOSTS = Hosts(own=("studio.example.org", "studio"), allowed=("ai.example.com", "*.fleet.example"))
HOST = ("Host", "192.168.1.5:11435")


def asked(origin: str, *, method: str = "GET", allowed: tuple[str, ...] = (), host: str = HOST[1]) -> Page | Headers:
    headers = (("Host", host), ("Origin", origin))
    return Origins(allowed).answer(visit(method, "192.168.1.9", headers), HOSTS)


# --- Host -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        *("", "127.0.0.1", "127.0.0.1:11435", "192.168.1.5:80", "203.0.113.9", "0.0.0.0:1", "[::1]", "[::1]:11435"),
        *("::1", "fe80::1", "[fe80::1%eth0]:11435", "localhost", "LOCALHOST:11435", "localhost.", "a.localhost"),
        *("studio", "Studio:11435", "studio.example.org", "studio.local", "nas.local:80", "host.docker.internal"),
        *("ai.example.com", "AI.Example.COM:443", "one.fleet.example", "a.b.fleet.example", "localhost:", ":11435"),
    ],
)
def test_names_that_are_the_routers_pass(host: str) -> None:
    HOSTS.check(host)


@pytest.mark.parametrize(
    "host",
    [
        # DNS rebinding: names of strangers, which may lead to any address.
        *("evil.example", "evil.example:11435", "localhost.evil.example", "127.0.0.1.evil.example", "127.0.0.1.nip.io"),
        *(
            "studio.evil.example",
            "xstudio",
            "fleet.example",
            "xfleet.example",
            "evil-local",
            "notlocalhost",
            "example.com",
        ),
        # What browsers would make an address of, and what is nothing at all.
        *("127.1", "0x7f.0.0.1", "2130706433", "127.0.0.1:x", "localhost:1:2", "localhost:-1", "localhost:٣", "[::1"),
        *("[localhost]", "[::1]x", "[]", "user@localhost", "localhost/", "localhost, evil.example", "local host"),
        *(".local", ".", "..", "*", "*.local.", "ⓛocalhost", "localhost\x00", "127.0.0.1%eth0:1:", "evil.local.com"),
    ],
)
def test_all_others_are_refused_in_a_sentence_that_names_the_way(host: str) -> None:
    with pytest.raises(RequestError, match="--allowed-host") as refused:
        HOSTS.check(host)
    assert refused.value.status == 403


def test_a_long_name_is_not_repeated() -> None:
    with pytest.raises(RequestError) as refused:
        HOSTS.check("x" * 30_000)
    assert len(str(refused.value)) < 300


@given(st.text(max_size=40) | st.from_regex(r"[a-z0-9.:\[\]%@*-]{0,40}", fullmatch=True))
@example("[::1]:80")
def test_any_host_is_known_or_refused_and_never_by_a_part_of_it(host: str) -> None:
    name = host_name(host)
    if HOSTS.known(host) and name:
        assert HOSTS.known(name)
        assert not HOSTS.known(f"{name}.evil.example")
        assert not HOSTS.known(f"evil.example/{name}")


@given(
    st.tuples(
        st.sampled_from(
            ["http://", "https://", "file://", "app://", "tauri://", "vscode-webview://", "ftp://", "", "x"]
        ),
        st.sampled_from(
            ["localhost", "127.0.0.1", "0.0.0.0", "192.168.1.5", "evil.example", "[::1]", "LOCALHOST", "x"]
        ),
        st.sampled_from(["", ":3000", ":11435", ".evil.com", "@evil", "/"]),
    ).map("".join)
    | st.sampled_from(["null", "", "file:"]),
    st.sampled_from(["GET", "POST", "OPTIONS"]),
)
def test_pages_are_told_what_ollama_tells_them(origin: str, method: str) -> None:
    """The fake Ollama has its own account of it."""
    headers = (HOST, ("Origin", origin))
    ours = Origins().answer(visit(method, "192.168.1.9", headers), HOSTS)
    theirs = check_origin(InMemoryRequest(method, "/api/tags", headers=headers))
    if isinstance(theirs, OllamaPage):
        assert ours == Page(theirs.status, theirs.headers)
    else:
        assert ours == theirs


# --- Origin -----------------------------------------------------------------------------------------------------------

OWN = [
    *("http://localhost", "https://localhost", "http://localhost:3000", "https://127.0.0.1:8443", "http://0.0.0.0:1"),
    *("app://obsidian.md", "file://", "file:///x", "tauri://localhost", "vscode-webview://abc", "vscode-file://x"),
]
FOREIGN = [
    *("null", "http://evil.example", "http://localhost.evil.com", "http://127.0.0.1.evil", "http://localhost:"),
    *("http://localhost@evil.com",),
    *("http://evil.com/http://localhost", "ftp://localhost", "//localhost", "localhost", "http://[::1]:3000", "file:"),
    *("xfile://", "http://192.168.1.5", "http://192.168.1.5:3000", "http://LOCALHOST.evil", " "),
    *("chrome-extension://abc", "http://studio.local", "https://192.168.1.5:11435.evil", "http://127.0.0.2"),
]


@pytest.mark.parametrize("origin", OWN)
def test_pages_that_ollama_allows_are_allowed_and_told_so(origin: str) -> None:
    answer = asked(origin)
    assert not isinstance(answer, Page)
    assert answer == (("Access-Control-Allow-Origin", origin), ("Vary", "Origin"))


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("origin", [each for each in FOREIGN if each.strip()])
def test_pages_of_strangers_get_403_whatever_they_ask(origin: str, method: str) -> None:
    assert asked(origin, method=method) == Page(403)


@pytest.mark.parametrize("origin", ["http://192.168.1.5:11435", "https://192.168.1.5:11435", "", " "])
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_the_routers_own_pages_are_no_matter_of_cors(origin: str, method: str) -> None:
    assert asked(origin, method=method) == ()


def test_of_two_origins_both_must_be_allowed() -> None:
    def both(*origins: str) -> Page | Headers:
        headers = (HOST, *(("Origin", each) for each in origins))
        return Origins().answer(visit("GET", "192.168.1.9", headers), HOSTS)

    assert both("http://localhost:1", "http://evil.example") == Page(403)
    assert both("http://192.168.1.5:11435", "http://evil.example") == Page(403)
    assert not isinstance(both("http://localhost:1", "file://"), Page)


def test_a_preflight_is_answered_as_ollama_answers_it() -> None:
    answer = asked("http://localhost:3000", method="OPTIONS")
    assert isinstance(answer, Page)
    assert answer.status == 204
    headers = dict(answer.headers)
    assert headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
    assert headers["Access-Control-Allow-Methods"] == "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS"
    assert headers["Access-Control-Allow-Headers"].startswith(
        "Authorization,Content-Type,User-Agent,Accept,X-Requested-With"
    )
    assert headers["Access-Control-Max-Age"] == "43200"
    assert [value for name, value in answer.headers if name == "Vary"] == [
        "Origin",
        "Access-Control-Request-Method",
        "Access-Control-Request-Headers",
    ]
    assert "Access-Control-Allow-Credentials" not in headers


@pytest.mark.parametrize(
    ("host", "answer"),
    [
        *[("localhost:11435", Page(204)), ("studio", Page(204)), ("nas.local", Page(204))],
        *[("192.168.1.5:11435", ()), ("[::1]:11435", ()), ("", ()), ("evil.example", ())],
    ],
)
def test_options_without_an_origin_is_answered_by_a_name_alone(host: str, answer: Page | Headers) -> None:
    assert Origins().answer(visit("OPTIONS", "::1", (("Host", host),)), HOSTS) == answer


@pytest.mark.parametrize(
    ("pattern", "origin", "allowed"),
    [
        ("https://chat.example.com", "https://chat.example.com", True),
        ("https://chat.example.com", "http://chat.example.com", False),
        ("https://chat.example.com", "https://chat.example.com:8443", False),
        ("https://chat.example.com", "https://chat.example.com.evil", False),
        ("https://*.example.com", "https://chat.example.com", True),
        ("https://*.example.com", "https://chat.example.com.evil", False),
        ("https://*.example.com", "https://example.com", False),
        ("https://aa*aa", "https://aa", False),  # what is before the star and what is behind it are two things
        ("chrome-extension://*", "chrome-extension://abc", True),
        ("chrome-extension://*", "moz-extension://abc", False),
    ],
)
def test_further_origins_are_those_that_were_named(pattern: str, origin: str, allowed: bool) -> None:
    assert isinstance(asked(origin, allowed=(pattern,)), Page) is not allowed
    assert not isinstance(asked("http://localhost:1", allowed=(pattern,)), Page)


def test_a_star_alone_is_everybody_and_says_so() -> None:
    answer = asked("http://evil.example", allowed=("*",))
    assert not isinstance(answer, Page)
    assert answer == (("Access-Control-Allow-Origin", "*"),)
