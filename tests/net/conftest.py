import pytest

from tests.certificates import HOUSE
from tests.net import link_house


@pytest.fixture(params=["", HOUSE], ids=["plain", "tls"])
def plain_and_tls(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a test twice: all links are plain, or speak TLS."""
    monkeypatch.setattr(link_house, "CERTIFICATE", request.param)
