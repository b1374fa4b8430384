import json
from pathlib import Path

import pytest

from herd.errors import ConfigError, JoinRefused
from herd.net import known_routers
from herd.net.known_routers import MAX_NAMES, Expectation, KnownRouters
from herd.protocols.discovery import RouterAddress
from herd.types import RouterId

HOUSE, OTHER = b"h" * 32, b"o" * 32  # SHA-256 of certificates
URL = "https://studio.local:11435"


def found(router_id: str = "r-1") -> RouterAddress:
    """A router that was heard by mDNS."""
    return RouterAddress(("192.0.2.1",), 11435, 11436, RouterId(router_id))


def named(url: str = URL, router_id: str = "r-1") -> RouterAddress:
    """A router at a URL that a person gave; the id is what it says of itself there."""
    return RouterAddress(("studio.local",), 0, 11436, RouterId(router_id), url=url)


@pytest.fixture(name="file")
def file_in_a_data_directory(tmp_path: Path) -> Path:
    return tmp_path / "known-routers.json"


def join(known: KnownRouters, address: RouterAddress, certificate: bytes, *, proven: bool = False) -> None:
    """What an agent does while it joins a router that is who it claims to be."""
    expected = Expectation(known, address, proven=proven)
    expected.check(certificate)
    expected.met(certificate, address.router_id)


@pytest.mark.parametrize("address", [found(), named()], ids=["mdns", "url"])
def test_the_first_certificate_of_a_router_is_trusted_and_another_is_not(file: Path, address: RouterAddress) -> None:
    join(KnownRouters(file), address, HOUSE)
    known = KnownRouters(file)  # after a restart
    join(known, address, HOUSE)
    with pytest.raises(JoinRefused, match=r"another certificate .*known-routers\.json on this machine") as refused:
        join(known, address, OTHER)
    assert refused.value.code == "certificate"


@pytest.mark.parametrize("proven", [False, True], ids=["by its certificate", "by the join token"])
def test_a_router_that_spoke_tls_once_is_not_joined_without(file: Path, proven: bool) -> None:
    join(KnownRouters(file), found(), HOUSE, proven=proven)
    with pytest.raises(JoinRefused, match=r"does not speak TLS, .* delete .*known-routers\.json") as refused:
        join(KnownRouters(file), found(), b"", proven=proven)
    assert refused.value.code == "tls"


def test_a_router_that_proves_itself_may_have_a_new_certificate_which_is_the_one_known_then(file: Path) -> None:
    known = KnownRouters(file)
    join(known, found(), HOUSE, proven=True)
    join(known, found(), OTHER, proven=True)
    join(known, found(), OTHER)
    with pytest.raises(JoinRefused):
        join(known, found(), HOUSE)


def test_a_plain_router_may_speak_tls_one_day(file: Path) -> None:
    known = KnownRouters(file)
    join(known, found(), b"")
    assert not file.exists()
    join(known, found(), HOUSE)


@pytest.mark.parametrize("certificate", [OTHER, b""], ids=["tls", "plain"])
@pytest.mark.parametrize("url", [URL, "http://studio.local:11435"])
def test_at_a_known_url_another_id_helps_nobody(file: Path, certificate: bytes, url: str) -> None:
    join(KnownRouters(file), named(), HOUSE)
    with pytest.raises(JoinRefused):
        join(KnownRouters(file), named(url, "never heard of"), certificate)


@pytest.mark.parametrize("certificate", [OTHER, b""], ids=["tls", "plain"])
def test_a_stranger_that_says_in_the_end_that_it_is_the_known_router_is_none(file: Path, certificate: bytes) -> None:
    known = KnownRouters(file)
    join(known, found(), HOUSE)
    expected = Expectation(known, found("stranger"), proven=False)
    expected.check(certificate)
    with pytest.raises(JoinRefused):
        expected.met(certificate, "r-1")
    assert OTHER.hex() not in file.read_text()


def test_of_a_router_its_own_word_is_remembered_and_not_what_others_said_of_it(file: Path) -> None:
    expected = Expectation(KnownRouters(file), named(router_id="r-2"), proven=True)
    expected.check(HOUSE)
    expected.met(HOUSE, "r-1")
    assert json.loads(file.read_text()) == {"at studio.local:11435": HOUSE.hex(), "id r-1": HOUSE.hex()}


def test_the_same_router_by_its_url_and_by_mdns_is_one(file: Path) -> None:
    known = KnownRouters(file)
    join(known, named(), HOUSE)
    with pytest.raises(JoinRefused):
        join(known, found(), OTHER)
    assert json.loads(file.read_text()) == {"at studio.local:11435": HOUSE.hex(), "id r-1": HOUSE.hex()}


def test_other_routers_elsewhere_are_strangers_to_one_another(file: Path) -> None:
    known = KnownRouters(file)
    join(known, named(), HOUSE)
    join(known, named("https://attic.local:11435", "r-2"), OTHER)
    join(known, named("http://cellar.local:11435", "r-3"), b"")
    join(known, named(), HOUSE)


def test_whoever_deletes_the_file_has_the_next_router_trusted_without_a_restart(file: Path) -> None:
    known = KnownRouters(file)
    join(known, found(), HOUSE)
    file.unlink()
    join(known, found(), OTHER)


@pytest.mark.parametrize("text", ["", "[]", '{"id r-1": 5}', "\x00", "[" * 100_000])
def test_a_damaged_file_is_not_taken_for_an_empty_one(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"known-routers\.json is damaged"):
        KnownRouters(file)


def test_a_file_that_cannot_be_read_is_not_taken_for_an_empty_one(file: Path) -> None:
    file.mkdir()
    with pytest.raises(ConfigError, match=r"Cannot read .*known-routers\.json"):
        KnownRouters(file)


def test_what_cannot_be_written_is_remembered_until_the_process_ends(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(known_routers, "replace_file", full)
    known = KnownRouters(file)
    join(known, found(), HOUSE)
    assert "No space left on device" in caplog.text
    with pytest.raises(JoinRefused):
        join(known, found(), OTHER)


def test_a_router_with_ever_new_ids_fills_no_disk_and_pushes_nobody_out(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    known = KnownRouters(file)
    join(known, found("honest"), HOUSE)
    for number in range(MAX_NAMES):
        join(known, named("http://stranger:1", f"{number} {'x' * 10_000}"), OTHER)
    assert len(json.loads(file.read_text())) == MAX_NAMES
    assert file.stat().st_size < 20_000
    assert "no more are remembered" in caplog.text
    with pytest.raises(JoinRefused):
        join(known, found("honest"), OTHER)


def test_without_a_file_it_is_remembered_all_the_same() -> None:
    known = KnownRouters()
    join(known, found(), HOUSE)
    with pytest.raises(JoinRefused):
        join(known, found(), OTHER)
