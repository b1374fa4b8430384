import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.protocols.headers import HOP_BY_HOP, to_backend, to_client, value_of

Headers = tuple[tuple[str, str], ...]

ANY_HEADERS = st.lists(st.tuples(st.text(min_size=1, max_size=12), st.text(max_size=12))).map(tuple)


@pytest.mark.parametrize("name", sorted(HOP_BY_HOP))
def test_what_concerns_one_hop_ends_there_in_any_spelling(name: str) -> None:
    for spelling in (name, name.upper(), name.title()):
        headers = (("X-Before", "1"), (spelling, "x"), ("X-After", "2"))
        assert to_backend(headers) == (("X-Before", "1"), ("X-After", "2"))
        assert to_client(headers) == (("X-Before", "1"), ("X-After", "2"))


def test_what_connection_names_ends_with_it() -> None:
    headers = (
        ("X-Mine", "1"),
        ("connection", "close, X-MINE"),
        ("X-Yours", "2"),
        ("Connection", " x-other ,"),
        ("x-other", "3"),
    )
    assert to_backend(headers) == to_client(headers) == (("X-Yours", "2"),)


@pytest.mark.parametrize(
    "name",
    ["Host", "Origin", "Referer", "Authorization", "Cookie", "X-Api-Key", "Accept-Encoding", "Content-Length"],
)
def test_a_model_server_does_not_see_who_asks_or_with_which_key(name: str) -> None:
    assert to_backend(((name, "secret"), ("Content-Type", "application/json"))) == (
        ("Content-Type", "application/json"),
    )


@pytest.mark.parametrize(
    "name", ["Server", "Date", "Vary", "Access-Control-Allow-Origin", "access-control-max-age", "X-Herd-Node"]
)
def test_who_serves_and_whom_is_the_routers_to_say(name: str) -> None:
    assert to_client(((name, "x"), ("Content-Length", "5"))) == (("Content-Length", "5"),)


def test_what_a_server_did_not_heed_is_its_own_to_say() -> None:
    assert to_client((("X-Herd-Ignored", "guidance"), ("X-Herd-Score", "1"))) == (("X-Herd-Ignored", "guidance"),)


@given(ANY_HEADERS)
def test_what_passes_passes_unchanged_and_in_order(headers: Headers) -> None:
    for passed in (to_backend(headers), to_client(headers)):
        rest = iter(headers)
        assert all(header in rest for header in passed)  # a subsequence
        assert not {name.lower() for name, _ in passed} & HOP_BY_HOP
    assert to_backend(to_backend(headers)) == to_backend(headers)


def test_the_first_value_of_a_name_counts_whatever_its_case() -> None:
    headers = (("X-A", "1"), ("x-a", "2"), ("X-B", ""))
    assert value_of(headers, "x-A") == "1"
    assert value_of(headers, "x-b") == ""
    assert value_of(headers, "x-c") == ""
