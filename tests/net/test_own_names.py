import threading

import pytest

from herd.net import own_names as module
from herd.net.own_names import own_names


@pytest.mark.parametrize(
    ("host_name", "full_name", "names"),
    [
        ("studio", "studio", ("studio", "studio.local")),
        ("Studio", "studio.fritz.box", ("studio", "studio.local", "studio.fritz.box")),
        ("studio.example.org", "studio.example.org", ("studio.example.org", "studio", "studio.local")),
        ("Studio.local", "studio.fritz.box.", ("studio.local", "studio", "studio.fritz.box")),
        ("studio", "localhost", ("studio", "studio.local")),
        ("studio", "evil.example", ("studio", "studio.local")),  # a resolver may be anybody's
        ("studio", "studioevil.example", ("studio", "studio.local")),
        ("", "localhost", ()),
    ],
)
def test_a_machine_is_called_with_its_domain_and_without(
    host_name: str, full_name: str, names: tuple[str, ...]
) -> None:
    assert own_names(lambda: host_name, lambda: full_name) == names


def test_a_resolver_that_does_not_answer_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESOLVER_S", 0.01)
    answers = threading.Event()

    def slow() -> str:
        answers.wait()
        return "studio.fritz.box"

    assert own_names(lambda: "studio", slow) == ("studio", "studio.local")
    answers.set()


def test_this_machine_has_a_name() -> None:
    assert own_names()
