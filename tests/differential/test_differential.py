"""Asked straight or through Herd, an Ollama says the same: status, headers, and every byte but times and ids."""

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.differential.calls import BODIES, asked, looked_up
from tests.differential.pair import Call, Pair, running_pair, soon_the_same

EXAMPLES = 40  # of each endpoint; some four hundred in all


class Asker:
    """The pair, for tests that are no coroutines, as those of Hypothesis."""

    def __init__(self, runner: asyncio.Runner, pair: Pair) -> None:
        self._runner = runner
        self._pair = pair

    def same(self, call: Call) -> None:
        """Ask both, and compare."""
        if call.path.endswith("/ps"):
            self._runner.run(soon_the_same(self._pair, call))
            return
        straight, through = self._runner.run(self._pair.ask(call))
        assert through == straight


@pytest.fixture(scope="module")
def asker() -> Iterator[Asker]:
    with asyncio.Runner() as runner:
        house = running_pair()
        pair = runner.run(house.__aenter__())
        yield Asker(runner, pair)
        runner.run(house.__aexit__(None, None, None))


@pytest.mark.parametrize("path", BODIES)
def test_every_endpoint_answers_as_ollama_does(asker: Asker, path: str) -> None:
    @settings(max_examples=EXAMPLES, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def ask(data: st.DataObject) -> None:
        asker.same(data.draw(asked(path), label="call"))

    ask()


def test_every_method_path_and_origin_meets_what_ollama_has_for_it(asker: Asker) -> None:
    @settings(max_examples=400, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(looked_up())
    def ask(call: Call) -> None:
        asker.same(call)

    ask()
