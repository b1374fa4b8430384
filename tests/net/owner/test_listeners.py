"""Which processes listen at the ports of the agent's model servers, and when one must be somewhere unseen."""

import socket
from collections.abc import Iterator

import psutil
import pytest

from herd.net.owner import listeners
from herd.net.owner.listeners import SEARCH_S, Address, Listeners, is_here
from herd.net.owner.model_servers import Role, file_name
from herd.types import Seconds
from tests.net.owner.workers import Worker, working

NOW = Seconds(100.0)


@pytest.fixture
def worker() -> Iterator[Worker]:
    with working() as process:
        yield process


def of(worker: Worker) -> psutil.Process:
    return psutil.Process(worker.process.pid)


class Searches:
    """Every search through all sockets. It finds nothing, as where a server is another user's, or in a container."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        monkeypatch.setattr(psutil, "net_connections", self._none)

    def _none(self, kind: str) -> list[object]:
        self.count += 1
        return []


def test_the_process_at_the_port_is_found_whatever_it_is(worker: Worker) -> None:
    look = Listeners([worker.url])
    assert look.look({of(worker): None, psutil.Process(): None}, NOW) == {of(worker)}
    assert not look.hidden


def test_it_is_not_searched_for_again_while_it_lives(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    look = Listeners([worker.url])
    look.look({of(worker): None}, NOW)
    searches = Searches(monkeypatch)
    assert look.look({of(worker): None}, Seconds(NOW + SEARCH_S)) == {of(worker)}
    assert searches.count == 0


def test_a_server_that_is_known_by_its_words_is_found_without_a_search(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    searches = Searches(monkeypatch)
    assert Listeners([worker.url]).look({of(worker): Role.MANAGER}, NOW) == {of(worker)}
    assert searches.count == 0


def test_where_nothing_listens_nothing_is_hidden_nor_searched_for(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    searches = Searches(monkeypatch)
    me = of(worker)
    worker.end()
    look = Listeners([worker.url])
    assert look.look({me: None}, NOW) == frozenset()
    assert (look.hidden, searches.count) == (False, 0)


def test_a_server_that_answers_and_is_not_to_be_seen_is_hidden(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    Searches(monkeypatch)
    look = Listeners([worker.url])
    assert look.look({psutil.Process(): None}, NOW) == frozenset()
    assert look.hidden


def test_one_whose_sockets_the_system_does_not_show_is_not_hidden_when_its_words_tell_it(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(self: psutil.Process, kind: str) -> None:
        raise psutil.AccessDenied(self.pid)

    Searches(monkeypatch)
    monkeypatch.setattr(psutil.Process, "net_connections", denied)
    look = Listeners([worker.url])
    look.look({of(worker): Role.MANAGER}, NOW)
    assert not look.hidden


def test_a_server_that_is_seen_at_another_port_does_not_stand_for_the_hidden_one(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    Searches(monkeypatch)
    with working() as other:
        look = Listeners([worker.url, other.url])
        assert look.look({of(other): Role.SERVER}, NOW) == {of(other)}
        assert look.hidden


def test_a_search_is_made_once_in_a_while_only(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    searches = Searches(monkeypatch)
    look = Listeners([worker.url])
    for later in (0.0, 5.0, SEARCH_S - 1):
        look.look({psutil.Process(): None}, Seconds(NOW + later))
        assert look.hidden
    assert searches.count == 1
    look.look({psutil.Process(): None}, Seconds(NOW + SEARCH_S))
    assert searches.count == 2


def test_where_the_system_shows_no_sockets_of_others_those_of_ones_own_are_looked_at(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(kind: str) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", denied)
    look = Listeners([worker.url])
    assert look.look({psutil.Process(): None, of(worker): None}, NOW) == {of(worker)}


def test_what_only_passes_on_to_a_server_is_none(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "FORWARDERS", frozenset([file_name(of(worker).name())]))
    look = Listeners([worker.url])
    for _ in range(2):
        assert look.look({of(worker): None}, NOW) == frozenset()
        assert look.hidden
    with working() as other:  # in a container, so that its sockets are not among this machine's
        monkeypatch.setattr(listeners, "_ports", lambda process: frozenset())
        look.look({of(worker): None, of(other): Role.MANAGER}, NOW)
        assert not look.hidden


def test_what_everything_descends_from_is_no_model_server(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "_SYSTEM", (worker.process.pid,))
    look = Listeners([worker.url])
    assert look.look({of(worker): None}, NOW) == frozenset()
    assert look.hidden


def test_a_server_on_another_machine_is_hidden() -> None:
    look = Listeners(["http://192.0.2.1:11434"])
    assert look.look({}, NOW) == frozenset()
    assert look.hidden


def test_one_that_hides_stays_hidden_whatever_is_known_of_the_others(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    Searches(monkeypatch)
    monkeypatch.setattr(listeners, "_ports", lambda process: frozenset())
    for urls in (["http://192.0.2.1:11434", worker.url], [worker.url, "http://192.0.2.1:11434"]):
        look = Listeners(urls)
        look.look({of(worker): Role.MANAGER}, NOW)
        assert look.hidden


def test_after_one_has_ended_its_successor_is_found(worker: Worker) -> None:
    look = Listeners([worker.url])
    assert look.look({of(worker): None}, NOW)
    assert look.look({psutil.Process(): None}, NOW) == frozenset()
    assert look.look({of(worker): None}, Seconds(NOW + SEARCH_S)) == {of(worker)}


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.0.0.1:11434", Address("127.0.0.1", 11434)),
        ("http://localhost", Address("localhost", 80)),
        ("https://[::1]/v1", Address("::1", 443)),
    ],
)
def test_a_url_says_where_a_server_listens(url: str, address: Address) -> None:
    assert Address.of(url) == address


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1.2.3", "::1", "0.0.0.0", "localhost", socket.gethostname().lower()]
)
def test_this_machine_is_here(host: str) -> None:
    assert is_here(host)


def test_an_address_of_this_machine_is_here() -> None:
    for entries in psutil.net_if_addrs().values():
        for entry in entries:
            if entry.family in {socket.AF_INET, socket.AF_INET6}:
                assert is_here(entry.address.partition("%")[0])


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "example.org", "host.docker.internal", ""])
def test_another_machine_is_not_here(host: str) -> None:
    assert not is_here(host)
