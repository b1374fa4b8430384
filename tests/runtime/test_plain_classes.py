"""A plain class need not know that it is an actor: its names are its own, and each life is built like the first."""

from typing import Self

import pytest

from herd.runtime import ActorDiedError, context, remote, stop
from herd.runtime.testing import virtual_time


class Empty:
    pass


@virtual_time
async def test_a_handle_offers_nothing_that_its_class_has_not_got() -> None:
    actor = remote(Empty).remote()
    kind = actor.actor_ref.actor_class
    assert [name for name in dir(kind) if not name.startswith("_") and hasattr(actor, name)] == ["actor_ref"]
    await stop(actor)


class Built:
    """Begins in `__new__`. After the lives in `refuses_in` there is no further one."""

    async_methods = ("a", "b")  # a name of its own
    refuses_in: tuple[int, ...] = ()
    built = 0

    def __new__(cls) -> Self:
        Built.built += 1
        if Built.built in cls.refuses_in:
            raise ValueError("not today")
        self = super().__new__(cls)
        self.number = Built.built
        return self

    number: int

    def read(self) -> tuple[int, int, tuple[str, ...]]:
        return self.number, context(self).restarts, self.async_methods

    def fail(self) -> None:
        raise ValueError("on purpose")


@virtual_time(allow_lost=True)
async def test_each_life_is_built_from_new_on() -> None:
    Built.built = 0
    actor = remote(Built).options(max_restarts=1).remote()
    assert await actor.read.remote() == (1, 0, ("a", "b"))
    actor.fail.tell()
    assert await actor.read.remote() == (2, 1, ("a", "b"))
    await stop(actor)


@virtual_time(allow_lost=True)
async def test_a_new_that_raises_in_a_later_life_is_a_further_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    Built.built = 0
    monkeypatch.setattr(Built, "refuses_in", (2, 4, 5))
    actor = remote(Built).options(max_restarts=3).remote()
    actor.fail.tell()
    assert await actor.read.remote() == (3, 2, ("a", "b"))
    actor.fail.tell()
    with pytest.raises(ActorDiedError, match="not today"):
        await actor.read.remote()
