"""The Gateway: when its listener listens."""

from herd.actors.gateway import Gateway
from herd.actors.ports import HttpRequest, Sink
from herd.runtime import kill, list_actors, remote, stop
from herd.runtime.testing import virtual_time
from tests.actors.doubles import FakeHttpServer, settled


async def answer(request: HttpRequest, sink: Sink) -> None:
    raise NotImplementedError


@virtual_time
async def test_a_gateway_that_crashes_goes_on_listening_until_it_is_stopped_in_order() -> None:
    server = FakeHttpServer()
    gateway = remote(Gateway).options(max_restarts=1).remote(server, answer)
    await gateway.listen.remote()
    kill(gateway, no_restart=False)
    await settled()
    assert [state.restarts for state in list_actors()] == [1]
    assert server.diary == ["listens"]
    await stop(gateway)
    assert server.diary == ["listens", "has stopped"]
