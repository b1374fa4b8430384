"""Who may do what: keys, and from where the fleet may be changed.

Failure 11: control endpoints open to anyone on the network or to any web page in the browser.
"""

import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.errors import RequestError
from herd.protocols.access import MAX_GIVEN, Access, Key, digest_of
from herd.protocols.answers import error_answer
from herd.protocols.origins import Hosts
from herd.protocols.paths import ENDPOINTS, Endpoint, EndpointKind, find
from herd.protocols.visits import visit
from herd.types import Dialect

HOST = ("Host", "127.0.0.1:11435")
HERE, LAN, FAR = "127.0.0.1", "192.168.1.7", "203.0.113.9"
PHONE, ADMIN = "phone-secret", "admin-secret"
OPEN = Access()
KEYED = Access(keys=(Key("phone", digest_of(PHONE)), Key("", digest_of("nameless"))))
ADMINISTERED = Access(keys=KEYED.keys, admin=digest_of(ADMIN))
PIN = find("POST", "/herd/v1/pins/x")
CHAT = find("POST", "/v1/chat/completions")
STATUS = find("GET", "/herd/v1/status")
BLOB = find("POST", f"/api/blobs/sha256:{'0' * 64}")
EVERYBODYS = {"ollama.root", "herd.info", "herd.healthz", "herd.readyz"}


def bearer(key: str) -> tuple[str, str]:
    return ("Authorization", f"Bearer {key}")


def status_of(access: Access, endpoint: Endpoint, peer: str, *headers: tuple[str, str], method: str = "") -> int:
    """200 where a request passes, else the status of its refusal."""
    try:
        access.admit(endpoint, visit(method or endpoint.methods[0], peer, headers))
    except RequestError as error:
        return error.status
    return 200


def refusal(access: Access, endpoint: Endpoint, peer: str, *headers: tuple[str, str]) -> str:
    """Why it is refused with 403; empty when it is not."""
    try:
        access.admit(endpoint, visit(endpoint.methods[0], peer, headers))
    except RequestError as error:
        return str(error) if error.status == 403 else ""
    return ""


# --- watching ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_page_that_would_see_nothing_holds_no_stream_open(site: str) -> None:
    events, foreign = find("GET", "/herd/v1/events"), ("Sec-Fetch-Site", site)
    assert status_of(OPEN, events, HERE, HOST, foreign) == 403
    assert status_of(OPEN, STATUS, HERE, HOST, foreign) == 200  # it is over at once
    for reader in (("Origin", "http://localhost:3000"), ("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "none")):
        assert status_of(OPEN, events, HERE, HOST, *((reader, foreign) if reader[0] == "Origin" else (reader,))) == 200


# --- changing the fleet -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.0.1.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", "::1%lo"])
def test_this_machine_may_change_the_fleet(peer: str) -> None:
    assert refusal(OPEN, PIN, peer, HOST) == ""


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
def test_nobody_else_may_and_is_told_the_ways(peer: str) -> None:
    text = refusal(OPEN, PIN, peer, HOST)
    assert all(way in text for way in ("on the router's own machine only", "admin key", "--lan-admin"))


def test_every_endpoint_that_changes_anything_is_marked() -> None:
    words = ("pull", "push", "create", "copy", "delete", "blobs", "order", "pins")
    assert not [each for each in ENDPOINTS if each.name.partition(".")[2] in words and not each.changes]
    assert not [
        each
        for each in ENDPOINTS
        if each.name.startswith("herd.") and {*each.methods} - {"GET", "HEAD"} and not each.changes
    ]
    assert status_of(OPEN, BLOB, LAN) == 403
    assert status_of(OPEN, BLOB, LAN, method="HEAD") == 200  # a look is no change


@pytest.mark.parametrize("name", ["X-Forwarded-For", "forwarded", "X-Real-IP", "Via", "X-Forwarded-Host"])
def test_who_comes_through_a_proxy_is_nowhere_near(name: str) -> None:
    for access in (OPEN, Access(lan_admin=True)):
        assert "on the router's own machine only" in refusal(access, PIN, HERE, HOST, (name, "127.0.0.1"))


@pytest.mark.parametrize(
    "peer", ["192.168.1.5", "10.0.0.1", "172.16.0.1", "fd00::1", "fe80::1%eth0", "::ffff:10.0.0.1"]
)
def test_the_local_network_may_where_it_is_let(peer: str) -> None:
    assert refusal(Access(lan_admin=True), PIN, peer) == ""


@pytest.mark.parametrize("peer", ["8.8.8.8", "2001:4860::1", "172.32.0.1", "100.64.0.1", "::ffff:8.8.8.8"])
def test_the_rest_of_the_world_is_no_local_network(peer: str) -> None:
    assert refusal(Access(lan_admin=True), PIN, peer)


def test_the_admin_key_opens_it_from_anywhere() -> None:
    for header in (bearer(ADMIN), ("x-api-key", ADMIN), ("authorization", f"bearer  {ADMIN} ")):
        assert status_of(ADMINISTERED, PIN, FAR, header) == 200
        assert status_of(ADMINISTERED, BLOB, FAR, header) == 200


def test_another_key_does_not_and_only_a_wrong_one_is_called_so() -> None:
    assert status_of(ADMINISTERED, PIN, LAN, bearer("no-such-key")) == 401
    assert status_of(ADMINISTERED, PIN, LAN, bearer(PHONE)) == 403
    assert status_of(ADMINISTERED, PIN, LAN) == 403
    assert status_of(OPEN, PIN, LAN, bearer("not-needed")) == 403  # there is no right one
    assert status_of(OPEN, PIN, HERE, bearer("not-needed")) == 200


# --- web pages --------------------------------------------------------------------------------------------------------


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
def test_no_foreign_web_page_changes_the_fleet(origin: str) -> None:
    for access, key in ((OPEN, ()), (Access(lan_admin=True), ()), (ADMINISTERED, (bearer(ADMIN),))):
        assert "not changed from web pages" in refusal(access, PIN, HERE, HOST, ("Origin", origin), *key)


@pytest.mark.parametrize("name", ["evil.local", "evil.internal", "evil.localhost"])
def test_a_page_of_a_name_that_others_can_lead_here_does_not_either(name: str) -> None:
    """DNS rebinding within the house: origin and host agree, and neither is this machine's own name."""
    pair = (("Host", f"{name}:11435"), ("Origin", f"http://{name}:11435"))
    assert "not changed from web pages" in refusal(OPEN, PIN, HERE, *pair)


@pytest.mark.parametrize("site", ["cross-site", "same-site", "Cross-Site"])
def test_no_page_does_that_says_so_by_its_site_alone(site: str) -> None:
    assert "not changed from web pages" in refusal(OPEN, PIN, HERE, HOST, ("Sec-Fetch-Site", site))


@pytest.mark.parametrize(
    "host", ["127.0.0.1:11435", "localhost:11435", "[::1]:11435", "studio:11435", "ai.example.com"]
)
def test_the_routers_own_page_may(host: str) -> None:
    access = Access(hosts=Hosts(own=("studio",), allowed=("ai.example.com",)))
    own = (("host", host), ("origin", f"http://{host}"), ("sec-fetch-site", "same-origin"))
    assert refusal(access, PIN, "::1", *own) == ""
    assert refusal(access, PIN, "::1", *own, ("Origin", "http://evil.example")) != ""


# --- keys -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda each: each.name)
def test_without_keys_everything_but_changes_is_open_to_all(endpoint: Endpoint) -> None:
    assert status_of(OPEN, endpoint, FAR, bearer("not-needed")) == (403 if endpoint.changes else 200)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda each: each.name)
def test_with_keys_nothing_is_open_but_the_page_and_what_watchdogs_and_agents_ask(endpoint: Endpoint) -> None:
    is_open = endpoint.kind is EndpointKind.PAGE or endpoint.name in EVERYBODYS
    own_change = endpoint.changes and endpoint.name.startswith("herd.")
    for method in endpoint.methods:
        for headers in ((), (bearer("no-such-key"),), (("x-api-key", ""),)):
            expected = 200 if is_open else 403 if own_change and not headers else 401
            assert status_of(KEYED, endpoint, FAR, *headers, method=method) == expected
        if not endpoint.changes:
            assert status_of(KEYED, endpoint, FAR, bearer(PHONE), method=method) == 200
            assert status_of(KEYED, endpoint, FAR, ("X-API-Key", "nameless"), method=method) == 200


def test_on_this_machine_herd_itself_needs_no_key_and_clients_do() -> None:
    assert status_of(KEYED, STATUS, HERE) == 200
    assert status_of(KEYED, STATUS, HERE, ("X-Forwarded-For", FAR)) == 401
    assert status_of(KEYED, PIN, HERE) == 200
    assert status_of(KEYED, CHAT, HERE) == 401
    assert status_of(KEYED, BLOB, HERE) == 401
    assert status_of(KEYED, BLOB, HERE, bearer(PHONE)) == 200
    assert status_of(KEYED, BLOB, LAN, bearer(PHONE)) == 403


def test_an_admin_key_alone_closes_nothing() -> None:
    alone = Access(admin=digest_of(ADMIN))
    assert status_of(alone, CHAT, FAR) == 200
    assert status_of(alone, STATUS, FAR, bearer("whatever")) == 200


def test_the_admin_key_is_a_key_too() -> None:
    assert ADMINISTERED.admit(CHAT, visit("POST", FAR, (bearer(ADMIN),))) == ""


def test_the_keys_name_is_the_clients() -> None:
    assert KEYED.admit(CHAT, visit("POST", FAR, (bearer(PHONE),))) == "phone"
    assert KEYED.admit(CHAT, visit("POST", FAR, (bearer("nameless"),))) == ""
    both = (bearer("sk-of-another-service"), ("x-api-key", PHONE))  # Anthropic's client sends two
    assert KEYED.admit(CHAT, visit("POST", FAR, both)) == "phone"


@pytest.mark.parametrize(
    "header",
    [
        ("Authorization", PHONE),
        ("Authorization", f"Basic {PHONE}"),
        ("Authorization", "Bearer"),
        ("Authorization", f"Bearer {PHONE}x"),
        ("Authorization", f"Bearer {PHONE[:-1]}"),
        ("Authorization", f"Bearer {PHONE}, Bearer {PHONE}"),
        ("Authorization", f"Bearer {PHONE.upper()}"),
        ("Authorization", f"Bearer {'x' * 30_000}"),
        ("Authorization", f"Bearer {PHONE}\N{ZERO WIDTH SPACE}"),
        ("Authorization", "Bearer \ud800\ufffd"),
        ("x-api-key", f"Bearer {PHONE}"),
        ("api-key", PHONE),
        ("Cookie", f"key={PHONE}"),
    ],
)
def test_what_is_not_the_key_is_none(header: tuple[str, str]) -> None:
    assert status_of(KEYED, CHAT, FAR, header) == 401


def test_of_several_any_may_be_the_key() -> None:
    assert status_of(KEYED, CHAT, FAR, bearer("wrong-one"), bearer(PHONE)) == 200
    assert status_of(KEYED, CHAT, FAR, bearer("wrong-one"), bearer("wrong-too")) == 401


def test_a_head_full_of_keys_is_not_compared_to_its_end() -> None:
    wrong = [bearer("wrong-one")] * MAX_GIVEN
    assert status_of(KEYED, CHAT, FAR, *wrong[1:], bearer(PHONE)) == 200
    assert status_of(KEYED, CHAT, FAR, *wrong, bearer(PHONE)) == 401


def test_every_key_is_compared_in_constant_time_whichever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []
    original = hmac.compare_digest

    def counting(one: Any, other: Any) -> bool:
        compared.append((len(one), len(other)))
        return original(one, other)

    monkeypatch.setattr(hmac, "compare_digest", counting)
    for key in (PHONE, "nameless", ADMIN, "wrong", "", "x" * 10_000):
        compared.clear()
        status_of(ADMINISTERED, CHAT, FAR, bearer(key))
        assert compared == [(32, 32)] * 3


@pytest.mark.parametrize("given", [(), (bearer("no-such-key"),)])
def test_the_refusal_names_the_scheme_and_has_openais_code(given: tuple[tuple[str, str], ...]) -> None:
    for endpoint in (CHAT, STATUS, BLOB):
        with pytest.raises(RequestError) as refused:
            KEYED.admit(endpoint, visit("POST", FAR, given))
        error = refused.value
        assert (error.status, error.code) == (401, "invalid_api_key")
        assert error.headers == (("WWW-Authenticate", "Bearer"),)
        assert "no-such-key" not in str(error)
        if endpoint is BLOB:
            assert str(error) == "unauthorized"
        assert endpoint.dialect in Dialect


def test_anthropics_clients_are_told_in_its_words() -> None:
    messages = Endpoint("anthropic.messages", "/v1/messages", ("POST",), Dialect.ANTHROPIC, EndpointKind.INFERENCE)
    for headers, words in (
        ((), "x-api-key header is required"),
        ((("x-api-key", "guess-guess"),), "invalid x-api-key"),
    ):
        with pytest.raises(RequestError) as refused:
            KEYED.admit(messages, visit("POST", FAR, headers))
        body = json.loads(error_answer(messages.dialect, refused.value, request_id="req_1").body)
        assert body["error"] == {"type": "authentication_error", "message": words}


NAMES = st.sampled_from(["Authorization", "x-api-key", "Host", "Origin", "Sec-Fetch-Site", "X-Forwarded-For", "Cookie"])
VALUES = st.text(max_size=30) | st.sampled_from(["Bearer", f"Bearer {PHONE[:-1]}", f"{PHONE}, x", "localhost", "null"])


@given(st.lists(st.tuples(NAMES, VALUES), max_size=6), st.sampled_from(ENDPOINTS), st.sampled_from([LAN, FAR, "", "x"]))
def test_no_head_without_a_key_gets_past_the_keys(
    headers: list[tuple[str, str]], endpoint: Endpoint, peer: str
) -> None:
    is_open = endpoint.kind is EndpointKind.PAGE or endpoint.name in EVERYBODYS
    assert status_of(ADMINISTERED, endpoint, peer, *headers) in ({200, 403} if is_open else {401, 403})


def test_nothing_shows_a_key() -> None:
    shown = repr((ADMINISTERED, visit("GET", HERE, (bearer(PHONE), ("x-api-key", ADMIN)))))
    assert "phone" in shown
    assert PHONE not in shown
    assert ADMIN not in shown
    assert repr(digest_of(PHONE)) not in shown


def test_a_wrong_name_is_refused_before_any_key_is_looked_at() -> None:
    assert "--allowed-host" in refusal(KEYED, CHAT, HERE, ("Host", "evil.example"), bearer(PHONE))


@pytest.mark.parametrize("name", ["herd.healthz", "herd.readyz"])
def test_watchdogs_ask_by_any_name(name: str) -> None:
    probe = next(each for each in ENDPOINTS if each.name == name)
    assert status_of(KEYED, probe, FAR, ("Host", "herd:11435")) == 200
