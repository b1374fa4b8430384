"""Who may give orders: failure 11 of the list, control endpoints open to the network or to any web page."""

import pytest

from herd.protocols.control import refuse_control


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_the_routers_own_machine_may(peer: str) -> None:
    assert refuse_control(peer, [("Host", "127.0.0.1:11435")]) is None
    assert refuse_control(peer, [("Host", "localhost:11435"), ("Origin", "http://localhost:3000")]) is None
    assert refuse_control(peer, [("host", "[::1]:11435")]) is None
    assert refuse_control(peer, []) is None


@pytest.mark.parametrize("peer", ["192.168.1.7", "10.0.0.1", "fe80::1", "::ffff:10.0.0.1", "", "somewhere"])
def test_no_other_machine_may(peer: str) -> None:
    assert (
        refuse_control(peer, [("Host", "127.0.0.1:11435")]) == "only programs on the router's own machine may do this"
    )


@pytest.mark.parametrize(
    "header",
    [
        ("Origin", "https://evil.example"),
        ("Origin", "null"),
        ("Origin", "http://127.0.0.1.evil.example"),
        ("Origin", "http://[broken"),
        ("Host", "evil.example:11435"),  # a name of the site's own that leads here
    ],
)
def test_no_web_page_may(header: tuple[str, str]) -> None:
    assert refuse_control("127.0.0.1", [("Host", "localhost"), header] if header[0] == "Origin" else [header]) == (
        "no web page may do this"
    )
