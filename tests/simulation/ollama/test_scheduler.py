import math
from collections.abc import Callable, Iterable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from herd.simulation.machine.catalog import SimulatedModel
from herd.simulation.ollama.scheduler import (
    BUSY,
    AbortLoad,
    Decision,
    Granted,
    Job,
    Limits,
    Load,
    Refused,
    Scheduler,
    Unloaded,
)
from herd.types import Bytes, GiB, Seconds, Tokens

CTX = Tokens(4096)
T0, T1, T2, T3 = (Seconds(float(second)) for second in range(4))


def model(name: str, gib: float = 1.0) -> SimulatedModel:
    return SimulatedModel(name, Bytes(int(gib * GiB)), "1B", "Q4_K_M", "llama", CTX, (), Bytes(0))


A, B, C, D = (model(name) for name in "abcd")


def scheduler(memory: float = 100.0, *, num_parallel: int = 1, max_loaded: int = 3, max_queue: int = 512) -> Scheduler:
    return Scheduler(Limits(Bytes(int(memory * GiB)), num_parallel, max_loaded, max_queue))


def with_idle(given: Scheduler, *jobs: Job) -> Scheduler:
    """`given`, in which each job has loaded its model and left at once."""
    for job in jobs:
        given.arrive(job, T0)
        given.loaded(T0)
        given.leave(job.id, T0)
    return given


def names(given: Scheduler) -> list[str]:
    return [runner.model.name for runner in given.runners]


def test_a_cold_model_is_loaded_and_then_its_request_runs() -> None:
    given = scheduler()
    assert given.arrive(Job(1, A, CTX), T0) == [Load(A)]
    assert given.loaded(T1) == [Granted(1)]


def test_a_request_for_a_loaded_model_runs_at_once() -> None:
    given = with_idle(scheduler(), Job(1, A, CTX))
    assert given.arrive(Job(2, A, CTX), T1) == [Granted(2)]


def test_a_runner_has_so_many_slots_and_the_next_waits_for_one() -> None:
    given = with_idle(scheduler(num_parallel=2), Job(1, A, CTX))
    assert [given.arrive(Job(job, A, CTX), T1) for job in (2, 3, 4)] == [[Granted(2)], [Granted(3)], []]
    assert given.leave(2, T2) == [Granted(4)]


def test_one_model_loads_at_a_time() -> None:
    given = scheduler()
    given.arrive(Job(1, A, CTX), T0)
    assert given.arrive(Job(2, B, CTX), T0) == []
    assert given.loaded(T1) == [Granted(1), Load(B)]


def test_the_head_of_the_queue_holds_up_all_behind_it_but_not_those_for_a_loaded_model() -> None:
    given = with_idle(scheduler(max_loaded=1, num_parallel=2), Job(1, A, CTX))
    given.arrive(Job(2, A, CTX), T1)
    assert given.arrive(Job(3, B, CTX), T1) == []  # waits for A to go
    assert given.arrive(Job(4, C, CTX), T1) == []
    assert given.arrive(Job(5, A, CTX), T1) == [Granted(5)]
    assert given.pending == 2


def test_another_context_reloads_the_model() -> None:
    given = with_idle(scheduler(), Job(1, A, CTX))
    assert given.arrive(Job(2, A, Tokens(8192)), T1) == [Unloaded(A), Load(A)]
    assert given.runners[0].num_ctx == 8192


def test_a_busy_model_is_reloaded_when_its_requests_are_done() -> None:
    given = with_idle(scheduler(), Job(1, A, CTX))
    given.arrive(Job(2, A, CTX), T1)
    assert given.arrive(Job(3, A, Tokens(8192)), T1) == []
    assert given.leave(2, T2) == [Unloaded(A), Load(A)]


@pytest.mark.parametrize(
    "given",
    [scheduler(max_loaded=2), scheduler(memory=2.5)],
    ids=["as many models as allowed", "as much memory as there is"],
)
def test_room_is_made_by_the_idle_runner_with_the_shortest_keep_alive(given: Scheduler) -> None:
    with_idle(given, Job(1, A, CTX, 500.0), Job(2, B, CTX, 100.0))
    assert given.arrive(Job(3, C, CTX), T1) == [Unloaded(B), Load(C)]


def test_an_idle_runner_goes_before_a_busy_one_with_a_shorter_keep_alive() -> None:
    given = with_idle(scheduler(max_loaded=2), Job(1, A, CTX, 500.0), Job(2, B, CTX, 100.0))
    given.arrive(Job(3, B, CTX), T1)
    assert given.arrive(Job(4, C, CTX), T1) == [Unloaded(A), Load(C)]


def all_busy() -> Scheduler:
    """A for job 3 and B, which has the shorter keep-alive, for job 4; job 5 waits for C, for which there is no room."""
    given = with_idle(scheduler(max_loaded=2), Job(1, A, CTX, 500.0), Job(2, B, CTX, 100.0))
    given.arrive(Job(3, A, CTX), T1)
    given.arrive(Job(4, B, CTX), T1)
    given.arrive(Job(5, C, CTX), T1)
    return given


def test_when_all_are_busy_the_one_with_the_shortest_keep_alive_goes_at_its_end() -> None:
    given = all_busy()
    assert given.pending == 1
    assert given.leave(4, T2) == [Unloaded(B), Load(C)]


def test_who_waits_for_one_to_go_waits_for_that_one_though_another_becomes_idle_first() -> None:
    given = all_busy()
    assert given.leave(3, T2) == []
    assert given.leave(4, T3) == [Unloaded(B), Load(C)]
    assert names(given) == ["a", "c"]


def test_any_model_that_goes_makes_the_head_of_the_queue_look_again() -> None:
    given = all_busy()
    given.leave(3, T2)
    assert given.unload("a", T2) == [Unloaded(A), Load(C)]


def test_a_model_that_expires_makes_the_head_of_the_queue_look_again() -> None:
    given = all_busy()
    given.leave(3, T2)
    assert given.expire(Seconds(T2 + 500.0)) == [Unloaded(A), Load(C)]


def test_one_that_is_to_go_holds_up_the_queue_even_when_nobody_waits_for_its_room_any_more() -> None:
    given = all_busy()
    given.leave(5, T1)
    given.leave(3, T1)
    assert given.arrive(Job(6, C, CTX), T2) == []
    assert given.leave(4, T3) == [Unloaded(B), Load(C)]


def test_the_queue_is_bounded_but_not_for_a_loaded_model() -> None:
    given = scheduler(max_queue=1)
    given.arrive(Job(1, A, CTX), T0)
    assert given.arrive(Job(2, B, CTX), T0) == []
    assert given.arrive(Job(3, C, CTX), T0) == [Refused(3, 503, BUSY)]
    assert given.arrive(Job(4, A, CTX), T0) == []
    assert given.loaded(T1) == [Granted(1), Load(B)]


def test_a_model_that_can_never_fit_is_refused() -> None:
    given = scheduler(memory=8)
    text = "model requires more system memory (40.0 GiB) than is available (8.0 GiB)"
    assert given.arrive(Job(1, model("big", 40), CTX), T0) == [Refused(1, 500, text)]


def test_models_may_fill_the_memory_to_its_last_byte() -> None:
    given = with_idle(scheduler(memory=3), Job(1, A, CTX))
    assert given.arrive(Job(2, model("rest", 2), CTX), T1) == [Load(model("rest", 2))]
    assert scheduler(memory=1).arrive(Job(1, A, CTX), T0) == [Load(A)]


def test_a_model_that_is_a_little_too_large_is_said_to_need_more_than_there_is() -> None:
    (refused,) = scheduler(memory=8).arrive(Job(1, model("big", 8.01), CTX), T0)
    assert isinstance(refused, Refused)
    assert refused.text == "model requires more system memory (8.1 GiB) than is available (8.0 GiB)"


def test_the_context_of_every_slot_takes_memory() -> None:
    wide = SimulatedModel("wide", Bytes(GiB), "1B", "Q4_K_M", "llama", CTX, (), Bytes(2**18))
    assert wide.resident(CTX, 2) == 3 * GiB
    assert isinstance(scheduler(memory=2, num_parallel=2).arrive(Job(1, wide, CTX), T0)[0], Refused)


def test_an_idle_model_expires() -> None:
    given = with_idle(scheduler(), Job(1, A, CTX, 10.0))
    assert given.expire(Seconds(9.9)) == []
    assert given.expire(Seconds(10.0)) == [Unloaded(A)]


def test_the_keep_alive_counts_from_the_end_of_the_last_request() -> None:
    given = with_idle(scheduler(), Job(1, A, CTX, 10.0))
    given.arrive(Job(2, A, CTX), Seconds(5.0))
    assert given.leave(2, Seconds(60.0)) == []
    assert given.expire(Seconds(69.0)) == []
    assert given.expire(Seconds(70.0)) == [Unloaded(A)]


EVENTS: dict[str, Callable[[Scheduler, Seconds], list[Decision]]] = {
    "a request comes": lambda given, now: given.arrive(Job(9, D, CTX), now),
    "a load ends": lambda given, now: given.loaded(now),
    "a request ends": lambda given, now: given.leave(8, now),
    "a model is unloaded": lambda given, now: given.unload("d", now),
    "there is less memory": lambda given, now: given.set_memory(Bytes(50 * GiB), now),
}


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_before_anything_else_what_has_been_idle_for_long_enough_goes(
    event: Callable[[Scheduler, Seconds], list[Decision]],
) -> None:
    given = with_idle(scheduler(), Job(1, A, CTX, 10.0))
    given.arrive(Job(8, B, CTX), T1)
    assert event(given, Seconds(60.0))[0] == Unloaded(A)
    assert "a" not in names(given)


def test_more_memory_lets_who_waits_for_it_go_on() -> None:
    given = scheduler(memory=1.5)
    given.arrive(Job(1, A, CTX), T0)
    given.loaded(T0)
    assert given.arrive(Job(2, B, CTX), T1) == []
    assert given.set_memory(Bytes(2 * GiB), T2) == [Load(B)]


def test_a_model_kept_for_ever_stays() -> None:
    given = with_idle(scheduler(), Job(1, A, CTX, math.inf))
    assert given.expire(Seconds(1e9)) == []


def test_a_keep_alive_of_zero_unloads_at_the_end() -> None:
    given = scheduler()
    given.arrive(Job(1, A, CTX, 0.0), T0)
    given.loaded(T1)
    assert given.leave(1, T2) == [Unloaded(A)]


def test_unload_waits_for_what_runs() -> None:
    given = with_idle(scheduler(), Job(1, A, CTX))
    given.arrive(Job(2, A, CTX), T1)
    assert given.unload("a", T1) == []
    assert given.leave(2, T2) == [Unloaded(A)]
    assert given.unload("a", T3) == []


def test_a_load_that_nobody_waits_for_is_aborted_and_the_next_begins() -> None:
    given = scheduler()
    given.arrive(Job(1, A, CTX), T0)
    given.arrive(Job(2, B, CTX), T0)
    assert given.leave(1, T1) == [AbortLoad(A), Load(B)]


def test_all_behind_a_head_that_goes_on_are_looked_at_until_one_has_to_wait() -> None:
    given = scheduler(num_parallel=3)
    for job, wanted in enumerate((A, B, C, B, B), 1):
        given.arrive(Job(job, wanted, CTX), T0)
    assert given.loaded(T1) == [Granted(1), Load(B)]
    assert given.loaded(T2) == [Granted(2), Load(C), Granted(4), Granted(5)]


def test_a_load_goes_on_while_one_still_waits_for_it() -> None:
    given = scheduler()
    given.arrive(Job(1, A, CTX), T0)
    given.arrive(Job(2, A, CTX), T0)
    assert given.leave(1, T1) == []
    assert given.loaded(T2) == [Granted(2)]


def test_who_leaves_the_queue_frees_those_behind() -> None:
    given = with_idle(scheduler(max_loaded=1), Job(1, A, CTX))
    given.arrive(Job(2, A, CTX), T1)
    given.arrive(Job(3, B, CTX), T1)
    given.arrive(Job(4, A, CTX), T1)
    assert given.leave(3, T1) == []
    assert given.pending == 0


def test_a_request_that_only_loads_needs_no_slot() -> None:
    given = with_idle(scheduler(), Job(1, A, CTX))
    given.arrive(Job(2, A, CTX), T1)
    assert given.arrive(Job(3, A, CTX, 50.0, load_only=True), T1) == [Granted(3)]
    assert given.leave(3, T1) == []
    assert given.runners[0].keep_alive == 50.0


class AnyLife(RuleBasedStateMachine):
    """Whatever comes in whatever order, the limits hold and nobody is forgotten."""

    MODELS = (model("small"), model("middle", 3), model("large", 6), model("huge", 60))
    LIMITS = Limits(Bytes(8 * GiB), num_parallel=2, max_loaded=2, max_queue=3, keep_alive_s=20.0)

    def __init__(self) -> None:
        super().__init__()
        self.given = Scheduler(self.LIMITS)
        self.now = Seconds(0.0)
        self.next_job = 0
        self.waiting: dict[int, None] = {}
        self.running: dict[int, None] = {}
        self.loading = False

    def obey(self, decisions: Iterable[Decision]) -> None:
        for decision in decisions:
            match decision:
                case Load():
                    assert not self.loading, "one load at a time"
                    self.loading = True
                case AbortLoad():
                    self.loading = False
                case Granted(job):
                    self.running[job] = self.waiting.pop(job)
                case Refused(job):
                    del self.waiting[job]

    @rule(
        chosen=st.sampled_from(MODELS),
        num_ctx=st.sampled_from([CTX, CTX, Tokens(8192)]),
        keep_alive=st.sampled_from([None, None, 0.0, 5.0, math.inf]),
        load_only=st.sampled_from([False, False, True]),
    )
    def arrive(self, chosen: SimulatedModel, num_ctx: Tokens, keep_alive: float | None, load_only: bool) -> None:
        self.next_job += 1
        self.waiting[self.next_job] = None
        job = Job(self.next_job, chosen, num_ctx, keep_alive, load_only)
        self.obey(self.given.arrive(job, self.now))

    @precondition(lambda self: self.loading)
    @rule()
    def load_ends(self) -> None:
        self.loading = False
        self.obey(self.given.loaded(self.now))

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(list(self.running)))
        del self.running[job]
        self.obey(self.given.leave(job, self.now))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(list(self.waiting)))
        del self.waiting[job]
        self.obey(self.given.leave(job, self.now))

    @rule(chosen=st.sampled_from(MODELS))
    def unload(self, chosen: SimulatedModel) -> None:
        self.obey(self.given.unload(chosen.name, self.now))

    @rule(seconds=st.sampled_from([0.5, 4.0, 30.0]))
    def time_passes(self, seconds: float) -> None:
        self.now = Seconds(self.now + seconds)
        self.obey(self.given.expire(self.now))

    @invariant()
    def limits_hold(self) -> None:
        runners = self.given.runners
        assert len(runners) <= self.LIMITS.max_loaded
        assert sum(runner.size for runner in runners) <= self.LIMITS.memory
        assert all(len(runner.running) <= self.LIMITS.num_parallel for runner in runners)
        assert self.given.pending <= self.LIMITS.max_queue
        assert [runner.ready_since is None for runner in runners].count(True) == self.loading

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        assert not self.waiting or self.running or self.loading

    def teardown(self) -> None:
        while self.running or self.loading:
            if self.loading:
                self.load_ends()
            for job in list(self.running):
                del self.running[job]
                self.obey(self.given.leave(job, self.now))
        assert not self.waiting
        self.obey(self.given.expire(Seconds(1e12)))
        assert all(runner.keep_alive == math.inf for runner in self.given.runners)


TestAnyLife = AnyLife.TestCase
TestAnyLife.settings = settings(max_examples=60, stateful_step_count=30)
