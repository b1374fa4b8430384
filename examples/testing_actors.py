"""Tests of an actor: time that jumps, a probe in place of its neighbour, any order of turns, and no unseen leak.

python examples/testing_actors.py, or: python -m pytest examples/testing_actors.py
"""

import asyncio

import pytest

from herd.runtime import ActorHandle, context, remote, stop
from herd.runtime.probe import Heard, Probe
from herd.runtime.testing import LeakError, run_virtual, virtual_time
from herd.runtime.virtual import Deadlock

READING, ON, OFF = Heard("temperature"), Heard("switch", (True,)), Heard("switch", (False,))


class Heater:
    """What the thermostat drives. Tests put a probe in its place."""

    def switch(self, on: bool) -> None: ...

    def temperature(self) -> float:
        raise NotImplementedError("this needs a real heater")


class Thermostat:
    """Looks at the temperature once a minute and when the wish changes, and switches the heater when it has to."""

    def __init__(self, heater: ActorHandle, wanted: float) -> None:
        self.heater = heater
        self.wanted = wanted
        self.on = False

    def on_start(self) -> None:
        context(self).every(60, self.look)

    async def look(self) -> None:
        temperature = await self.heater.temperature.remote()
        # From here to the end no other handler has its turn, so what is read is still so when it is written.
        cold = temperature < self.wanted
        if cold != self.on:
            self.on = cold
            self.heater.switch.tell(cold)

    async def want(self, temperature: float) -> None:
        self.wanted = temperature
        await self.look()


@virtual_time
async def test_a_cold_room_is_heated_until_it_is_warm() -> None:
    heater = Probe(Heater)
    heater.answer("temperature", 18.0, 19.5, 20.5)
    thermostat = remote(Thermostat).remote(heater.handle, wanted=20.0)
    await asyncio.sleep(3 * 60 + 1)  # at once
    assert heater.so_far() == [READING, ON, READING, READING, OFF]
    await stop(thermostat)
    await heater.stop()


@pytest.mark.parametrize("seed", range(20))
def test_in_whatever_order_actors_have_their_turns_the_heater_is_never_told_the_same_twice(seed: int) -> None:
    async def main() -> list[Heard]:
        heater = Probe(Heater)
        heater.answer("temperature", 20.0, 20.0, 20.0)
        thermostat = remote(Thermostat).remote(heater.handle, wanted=18.0)
        await asyncio.gather(*(thermostat.want.remote(wanted) for wanted in (22.0, 18.0, 22.0)))
        await stop(thermostat)
        await heater.stop()
        return [heard for heard in heater.so_far() if heard != READING]

    assert run_virtual(main(), shuffle=seed) in ([ON], [ON, OFF, ON])


def test_an_actor_that_a_test_leaves_behind_fails_the_test() -> None:
    async def main() -> None:
        remote(Heater).options(name="hall").remote()

    with pytest.raises(LeakError, match='<ActorHandle Heater "hall" starting>, which was not stopped'):
        run_virtual(main())


def test_a_message_that_never_comes_is_an_error_and_no_hang() -> None:
    async def main() -> None:
        await Probe(Heater).heard()

    with pytest.raises(Deadlock, match="nothing can ever happen again"):
        run_virtual(main())


if __name__ == "__main__":
    test_a_cold_room_is_heated_until_it_is_warm()
    for chance in range(20):
        test_in_whatever_order_actors_have_their_turns_the_heater_is_never_told_the_same_twice(chance)
    test_an_actor_that_a_test_leaves_behind_fails_the_test()
    test_a_message_that_never_comes_is_an_error_and_no_hang()
    print("all tests passed")
