"""Failure 11: control endpoints open to anyone on the network or to any web page in the browser."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from herd.errors import RequestError
from herd.protocols.control import LONGEST_S, check_allowed, duration, pause_of
from herd.types import Seconds

HOST = ("Host", "127.0.0.1:11435")


def refusal(peer: str, *headers: tuple[str, str]) -> str:
    """Why it is refused; empty when it is not."""
    status, text = 0, ""
    try:
        check_allowed(peer, headers)
    except RequestError as error:
        status, text = error.status, str(error)
    assert status == (403 if text else 0)
    return text


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.0.1.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", "::1%lo"])
def test_this_machine_may(peer: str) -> None:
    assert refusal(peer, HOST) == ""


@pytest.mark.parametrize(
    "peer",
    [
        "192.168.1.5",
        "10.0.0.1",
        "128.0.0.1",
        "fe80::1%eth0",
        "::ffff:192.168.1.5",
        "::",
        "",
        "localhost",
        "127.0.0.1.x",
    ],
)
def test_nobody_else_on_the_network_may(peer: str) -> None:
    assert "on the router's own machine only" in refusal(peer, HOST)


@pytest.mark.parametrize("name", ["X-Forwarded-For", "forwarded", "X-Real-IP"])
def test_who_comes_through_a_proxy_on_this_machine_may_not(name: str) -> None:
    assert "on the router's own machine only" in refusal("127.0.0.1", HOST, (name, "127.0.0.1"))


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "http://127.0.0.1",  # another port, another site
        "http://127.0.0.1:3000",
        "http://localhost:11435",  # not the name by which the router was asked
        "https://127.0.0.1:11435.evil.example",
        "http://127.0.0.1:11435@evil.example",
        "file://",
        "null",
        "",
        "http://[::1",
        "chrome-extension://abc",
    ],
)
def test_no_foreign_web_page_may(origin: str) -> None:
    assert "not taken from web pages" in refusal("127.0.0.1", HOST, ("Origin", origin))


def test_a_stranger_whose_name_leads_here_may_not() -> None:
    """DNS rebinding: origin and host agree, and neither is this machine's own name."""
    pair = (("Host", "evil.example:11435"), ("Origin", "http://evil.example:11435"))
    assert "not taken from web pages" in refusal("127.0.0.1", *pair)


@pytest.mark.parametrize("site", ["cross-site", "same-site", "Cross-Site"])
def test_no_page_may_that_says_so_by_its_site_alone(site: str) -> None:
    assert "not taken from web pages" in refusal("127.0.0.1", HOST, ("Sec-Fetch-Site", site))


@pytest.mark.parametrize("host", ["127.0.0.1:11435", "localhost:11435", "[::1]:11435"])
def test_the_routers_own_page_may(host: str) -> None:
    own = (("host", host), ("origin", f"http://{host}"), ("sec-fetch-site", "same-origin"))
    assert refusal("::1", *own) == ""
    assert refusal("::1", *own, ("Origin", "http://evil.example")) != ""


# --- durations --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("2h", 7200), ("1h30m", 5400), ("2d", 172_800), ("1d1h1m1s", 90_061)],
)
def test_durations(text: str, seconds: int) -> None:
    assert duration(text) == Seconds(seconds)
    assert pause_of(f"for={text}", b"") == Seconds(seconds)
    assert pause_of("", f'{{"for": "{text}"}}'.encode()) == Seconds(seconds)


@pytest.mark.parametrize(
    "text",
    ["", "2", "h", "-2h", "2 h", "1.5h", "30m1h", "0s", "367d", "2H", "٢h", "1" * 300 + "h", "2h\n", 7, True, [], {}],
)
def test_what_is_no_duration_is_refused_with_an_example(text: object) -> None:
    with pytest.raises(RequestError, match="such as 90s, 30m, 2h or 1h30m") as refused:
        duration(text)
    assert refused.value.status == 400
    assert len(str(refused.value)) < 200


@given(st.text("0123456789dhms ", max_size=12))
@example("366d")
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    try:
        found = duration(text)
    except RequestError:
        return
    assert 0 < found <= LONGEST_S


def test_without_a_word_it_is_until_the_node_is_resumed() -> None:
    assert pause_of("", b"") is None
    assert pause_of("", b"{}") is None
    assert pause_of("", b'{"for": null}') is None
    assert pause_of("for=1h", b'{"for": "2h"}') == Seconds(7200)  # the body counts


@pytest.mark.parametrize("body", [b"for=2h", b'"2h"', b"[]", b"{", b"\xff"])
def test_a_body_that_says_nothing_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError, match="2h"):
        pause_of("", body)
