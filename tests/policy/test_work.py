"""Work that is not counted in tokens: what pictures and speech take, before and after some was seen."""

from dataclasses import replace
from typing import Any

import pytest

from herd.policy.completion import place as by_seconds
from herd.policy.homes import Served, Tenant, settle, unkeepable
from herd.policy.loads import NO_LOAD, ModelLoad, NodeLoad, Reservation
from herd.policy.pace import THROTTLED, Learned, Observed, doubt, learned, pace, work_rate
from herd.policy.placement import place
from herd.policy.prewarming import DeepQueue, pick
from herd.policy.prospects import Facts, Prospect, prospect
from herd.policy.rebalancing import Waits, better_place, targets, worth_a_look
from herd.policy.scoring import THERMAL_ON_DISK, THERMAL_UNLOADED, Moment, Outlook, look
from herd.policy.values import Ask, Hardware, MemoryKind, ModelView, NodeView
from herd.policy.work import LEAST, USUAL
from herd.types import Api, BackendKind, Bytes, GiB, NodeId, Seconds, Tokens, Unit
from tests.policy.views import NOW, card, looked_at, model, node

M3_ULTRA = Hardware(MemoryKind.UNIFIED, 819e9)
M2_MAX = Hardware(MemoryKind.UNIFIED, 400e9)
KEY = "flux:latest"
SCHNELL = Ask(KEY, Api.IMAGES, unit=Unit.PIXEL_STEP, amount=Tokens(4195))  # 1024 x 1024 in 4 steps
HEARD = Ask(KEY, Api.TRANSCRIPTIONS, unit=Unit.AUDIO_FRAME, amount=Tokens(6000))


def tool(kind: BackendKind = BackendKind.MFLUX, *, gib: float = 10.0, **fields: Any) -> ModelView:
    """A model of a program that is no Ollama."""
    apis = (Api.IMAGES, Api.GENERATE_IMAGE) if kind is BackendKind.MFLUX else (Api.TRANSCRIPTIONS, Api.TRANSCRIBE)
    return replace(model(KEY, gib=gib, **fields), dialects=("openai",), apis=apis, kind=kind.value)


def studio(name: str = "studio", *, total: float = 64.0, free: float = 60.0, **fields: Any) -> NodeView:
    return node(name, tool(**fields), **card(total, free))


def found(ask: Ask, one: Prospect, held: NodeLoad = NO_LOAD, moment: Moment = NOW) -> Outlook:
    there = look(ask, one, held, moment)
    assert isinstance(there, Outlook), there
    return there


def seconds(hardware: Hardware, view: ModelView, ask: Ask, known: Learned | None = None) -> float:
    assert ask.amount is not None
    return ask.amount / work_rate(hardware, view, known, ask.unit)[0]


def drawn(units: int, took: float, *, unit: Unit = Unit.PIXEL_STEP) -> Observed:
    nothing = Seconds(0.0)
    return Observed(NodeId("a"), "m", Tokens(0), Tokens(units), nothing, nothing, Seconds(took), unit=unit)


# --- before anything was seen -----------------------------------------------------------------------------------------


def test_flux_schnell_takes_some_18_s_on_an_m3_ultra_until_more_is_known() -> None:
    assert seconds(M3_ULTRA, tool(), SCHNELL) == pytest.approx(18.0, rel=0.01)
    assert seconds(M3_ULTRA, tool(gib=3.0), SCHNELL) == pytest.approx(18.0, rel=0.01)  # fewer bits make it no quicker
    card_of_its_own = Hardware(MemoryKind.VIDEO, 1008e9)
    assert 2.0 < seconds(card_of_its_own, tool(), SCHNELL) < 4.0


def test_whisper_large_runs_at_some_10_times_real_time_on_an_m2_max_until_more_is_known() -> None:
    whisper = tool(BackendKind.WHISPERCPP, gib=3e9 / GiB)
    unsaid = replace(whisper, size=Bytes(0))

    assert seconds(M2_MAX, whisper, HEARD) == pytest.approx(6.0, rel=0.1)  # a minute
    assert seconds(M2_MAX, unsaid, HEARD) == pytest.approx(seconds(M2_MAX, whisper, HEARD), rel=0.01)
    assert seconds(M2_MAX, tool(BackendKind.WHISPERCPP, gib=0.3), HEARD) < 1.0


def test_a_throttled_machine_is_slower_whatever_it_does() -> None:
    for ask in (SCHNELL, HEARD):
        hot = seconds(replace(M2_MAX, throttled=True), tool(), ask)
        assert hot == pytest.approx(seconds(M2_MAX, tool(), ask) / THROTTLED)


# --- what is learned --------------------------------------------------------------------------------------------------


def test_each_unit_has_a_rate_of_its_own() -> None:
    """A chat model that hears is asked in two."""
    known = learned(Learned(), drawn(6000, 3.0, unit=Unit.AUDIO_FRAME), Seconds(0.0))
    known = learned(known, drawn(120, 2.0, unit=Unit.TOKEN), Seconds(1.0))

    assert known.audio_frames.alone == pytest.approx(2000.0)
    assert known.decode.alone == pytest.approx(60.0)
    assert known.pixel_steps.alone == 0.0
    assert seconds(M2_MAX, tool(), HEARD, known) == pytest.approx(3.0)
    assert pace(M2_MAX, tool(), known).decode == pytest.approx(60.0)


@pytest.mark.parametrize("unit", Unit)
def test_what_is_too_little_work_says_nothing_of_a_machine(unit: Unit) -> None:
    little, enough = drawn(LEAST[unit] - 1, 1.0, unit=unit), drawn(LEAST[unit], 1.0, unit=unit)

    assert learned(Learned(), little, Seconds(0.0)).of(unit).alone == 0.0
    assert learned(Learned(), enough, Seconds(0.0)).of(unit).alone == pytest.approx(LEAST[unit])


def test_a_word_says_nothing_of_how_long_an_hour_takes() -> None:
    """Whisper computes a window of 30 s for both of these; by the first an hour would take ten times too long."""
    word, half_a_minute = (drawn(frames, 0.5, unit=Unit.AUDIO_FRAME) for frames in (150, 3000))
    hour = replace(HEARD, amount=Tokens(360_000))

    known = learned(learned(Learned(), word, Seconds(0.0)), half_a_minute, Seconds(1.0))
    assert seconds(M2_MAX, tool(BackendKind.WHISPERCPP), hour, known) == pytest.approx(60.0)


def test_the_first_byte_of_a_picture_is_no_first_token() -> None:
    picture = replace(drawn(4195, 18.0), first_token=Seconds(18.0))
    assert learned(Learned(), picture, Seconds(0.0)).first_token is None


def test_what_was_seen_of_one_kind_of_work_leaves_the_other_in_doubt() -> None:
    known = learned(Learned(), drawn(4000, 10.0), Seconds(0.0))

    assert doubt(known, Unit.PIXEL_STEP) < doubt(None, Unit.PIXEL_STEP)
    assert doubt(known) == doubt(known, Unit.AUDIO_FRAME) == doubt(None)


# --- what a request has to expect -------------------------------------------------------------------------------------


def test_work_is_what_the_request_says_it_is_else_what_is_usual() -> None:
    one = looked_at(studio(), KEY)
    unsaid = replace(SCHNELL, amount=None)
    usual = replace(NOW, answer=float(2 * 4195))
    once = found(SCHNELL, one).work - one.pace.load

    assert found(unsaid, one, moment=usual).work - one.pace.load == pytest.approx(2 * once)
    assert USUAL[Unit.PIXEL_STEP] > 4195  # a megapixel in ten steps


def test_neither_its_prompt_nor_a_limit_of_tokens_counts() -> None:
    """What is uploaded is no prompt, however long."""
    one = looked_at(node("studio", tool(BackendKind.WHISPERCPP, gib=1.0, resident=True)), KEY)

    assert found(replace(HEARD, prompt_tokens=Tokens(10**9), max_tokens=Tokens(1)), one).work == found(HEARD, one).work


def test_what_is_run_for_each_request_loads_for_each_whoever_ran_before() -> None:
    idle, runs = looked_at(studio(), KEY), looked_at(studio(resident=True), KEY)
    first, next_one = found(SCHNELL, idle), found(SCHNELL, runs)

    assert idle.pace.load > 5.0
    assert first.work == next_one.work
    assert first.wait == next_one.wait == 0.0  # to load is its work: the next one waits for that as well
    assert first.load is not None
    assert first.load.per_request
    assert next_one.load is None
    # That it runs is no reason to wait for it: the next one has to load, too.
    assert (first.thermal, next_one.thermal) == (THERMAL_ON_DISK, THERMAL_UNLOADED)


def test_one_that_waits_for_a_run_waits_for_its_load_as_well() -> None:
    one = looked_at(studio(), KEY)
    work = found(SCHNELL, one).work
    loading = Reservation(Bytes(10 * GiB), Tokens(0), Seconds(NOW.now + 6.0), Seconds(1e6), per_request=True)
    running = ModelLoad(1, 1, NOW.now + work)
    held = NodeLoad(1, models={KEY: running}, reservations={KEY: loading}, reserved=10 * GiB)

    assert found(SCHNELL, one, held).wait == pytest.approx(work)


def test_an_idle_node_comes_before_the_queue_of_one_that_draws() -> None:
    busy, idle = studio("busy", resident=True), studio("idle")
    load = NodeLoad(1, models={KEY: ModelLoad(1, 1, NOW.now + 18.0)})
    fleet = [prospect(KEY, view, Facts()) for view in (busy, idle)]

    for ranking in (place, by_seconds):
        decision = ranking(SCHNELL, fleet, {NodeId("busy"): load}, NOW)
        assert [one.name for one in decision.candidates] == ["idle", "busy"]


def test_the_seconds_of_the_second_scorer_are_those_that_are_predicted() -> None:
    decision = by_seconds(SCHNELL, [prospect(KEY, studio(), Facts())], {}, NOW)
    chosen = decision.chosen
    assert chosen is not None
    parts = chosen.seconds

    assert parts["wait"] + parts["load"] + parts["prefill"] + parts["decode"] == pytest.approx(chosen.completion)
    assert parts["wait"] == pytest.approx(0.0)
    assert parts["load"] > 5.0


def test_a_model_that_does_not_fit_is_not_run() -> None:
    decision = place(SCHNELL, [prospect(KEY, studio(total=64.0, free=60.0, gib=80.0), Facts())], {}, NOW)

    assert decision.chosen is None
    assert decision.eliminated[0].reason.kind == "too-large"


@pytest.mark.parametrize("kind", [BackendKind.MFLUX, BackendKind.QWEN_ASR])
def test_it_is_not_run_beside_models_in_use_that_leave_it_no_room_however_long_it_has_waited(kind: BackendKind) -> None:
    """Nothing would have it wait until they have ended, as Ollama has what it loads itself."""
    ask = SCHNELL if kind is BackendKind.MFLUX else HEARD
    other = model("qwen3:8b", gib=58.0, resident=True)
    view = node("studio", tool(kind), other, **card(64, 4))
    in_use = NodeLoad(1, models={"qwen3:8b": ModelLoad(1, 1, NOW.now + 10.0)})
    fleet = [prospect(KEY, view, Facts())]
    decision = place(ask, fleet, {view.id: in_use}, replace(NOW, waited=Seconds(600.0)))

    assert decision.chosen is None
    assert decision.eliminated[0].reason.kind == "memory-busy"
    assert place(ask, fleet, {}, NOW).chosen is not None  # idle ones make room


@pytest.mark.parametrize("kind", [BackendKind.MFLUX, BackendKind.QWEN_ASR])
def test_its_own_memory_is_nobody_elses_room(kind: BackendKind) -> None:
    """No Ollama can have it go."""
    qwen = model("qwen3:8b", gib=40.0)
    view = node("studio", tool(kind, gib=30.0, resident=True), qwen, **card(64, 34))
    ask = Ask("qwen3:8b", Api.CHAT)

    assert place(ask, [prospect("qwen3:8b", view, Facts())], {}, NOW).chosen is None
    gone = node("studio", tool(kind, gib=30.0), qwen, **card(64, 64))
    assert place(ask, [prospect("qwen3:8b", gone, Facts())], {}, NOW).chosen is not None


# --- loads ahead, homes and moves -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "warmed"),
    [(BackendKind.MFLUX, False), (BackendKind.QWEN_ASR, True), (BackendKind.WHISPERCPP, False)],
)
def test_only_what_a_command_can_load_is_loaded_ahead(kind: BackendKind, warmed: bool) -> None:
    ask = SCHNELL if kind is BackendKind.MFLUX else HEARD
    hot = node("hot", tool(kind, gib=1.0, resident=True), **card(64, 60))
    fleet = [prospect(KEY, view, Facts()) for view in (hot, node("cold", tool(kind, gib=1.0), **card(64, 60)))]
    queue = NodeLoad(5, models={KEY: ModelLoad(5, 1, NOW.now + 60.0, Seconds(240.0))})
    order = pick(DeepQueue(KEY, NodeId("hot"), ask.api), fleet, {NodeId("hot"): queue}, NOW)

    assert (order is not None) is warmed
    assert order is None or (order.node, order.num_ctx) == (NodeId("cold"), None)


@pytest.mark.parametrize("kind", [BackendKind.MFLUX, BackendKind.QWEN_ASR])
def test_what_nobody_can_keep_has_no_home_pinned_or_not(kind: BackendKind) -> None:
    view = node("studio", tool(kind), **card(64, 60))
    served = {view.id: Served(10.0, NOW.now)}
    tenant = Tenant(KEY, (looked_at(view, KEY),), served)

    assert settle([tenant, replace(tenant, pinned=True)], {view.id: view}, NOW.now) == {}
    assert unkeepable(KEY, {view.id: view})


def test_what_one_ollama_has_can_be_kept_and_what_nobody_has_told_of_may_be() -> None:
    tools, ollama = studio("studio"), node("nas", replace(model(KEY), kind="ollama"))
    remembered = node("away", replace(tool(), apis=()))

    assert not unkeepable(KEY, {tools.id: tools, ollama.id: ollama})
    assert not unkeepable(KEY, {remembered.id: remembered})
    assert not unkeepable(KEY, {})


def test_a_picture_that_waits_moves_to_an_idle_node_though_it_loads_there() -> None:
    """It would load where it waits as well."""
    idle = studio("idle")
    there = targets(NodeId("busy"), [looked_at(idle, KEY)], {}, NOW.now)
    work = found(SCHNELL, there[0]).work
    moved = better_place(SCHNELL, Waits(60.0, work), there, {}, NOW)

    assert moved is not None
    assert moved.node == idle.id
    assert moved.load is not None  # whose memory is reserved, as for any
    assert better_place(SCHNELL, Waits(1.5, work), there, {}, NOW) is None
    assert worth_a_look(None, idle)
    assert not worth_a_look(idle, idle)


def test_it_does_not_move_where_another_model_would_have_to_go_for_it() -> None:
    other = model("qwen3:8b", gib=58.0, resident=True)
    full = node("full", tool(), other, **card(64, 4))
    there = targets(NodeId("busy"), [looked_at(full, KEY)], {}, NOW.now)

    assert better_place(SCHNELL, Waits(600.0, 20.0), there, {}, NOW) is None


def test_speech_moves_only_where_its_model_is_loaded() -> None:
    cold = node("cold", tool(BackendKind.QWEN_ASR, gib=1.0), **card(64, 60))
    warm = node("warm", tool(BackendKind.QWEN_ASR, gib=1.0, resident=True), **card(64, 60))

    assert targets(NodeId("busy"), [looked_at(cold, KEY)], {}, NOW.now) == []
    there = targets(NodeId("busy"), [looked_at(warm, KEY)], {}, NOW.now)
    moved = better_place(HEARD, Waits(60.0, 20.0), there, {}, NOW)
    assert moved is not None
    assert moved.node == warm.id
