"""What routing sees of a report."""

from dataclasses import replace
from typing import Any

import pytest

from herd.actors.node_views import MEMORY_STEP, context_of, hardware_of, media_of, memory_of, models_of, workload_of
from herd.policy.elimination import lacking
from herd.policy.values import Ask, Memory, MemoryKind
from herd.protocols import apis
from herd.protocols.messages import BackendInfo, Gpu, Machine, ModelInfo, Report
from herd.types import Api, BackendId, BackendKind, Bytes, Capability, GiB, ModelName, Tokens, Workload
from tests.actors.doubles import LLAMACPP, OLLAMA, model, report

CARD = Gpu("GPU-1", "NVIDIA GeForce RTX 4090", "nvidia", Bytes(24 * GiB), Bytes(20 * GiB))
APPLE = Gpu("apple", "Apple M2 Ultra", "apple", Bytes(96 * GiB), Bytes(60 * GiB), unified=True)
RAM = Report(backends=(OLLAMA,), memory_total=Bytes(64 * GiB), memory_free=Bytes(40 * GiB))


def loaded(size: float, vram: float = 0.0) -> ModelInfo:
    """A model in memory, of so many GiB, of which so many are in video memory."""
    return ModelInfo(
        ModelName("m:latest"),
        BackendId("ollama"),
        resident=True,
        size_resident=Bytes(int(size * GiB)),
        size_vram=Bytes(int(vram * GiB)),
    )


@pytest.mark.parametrize(
    ("gpus", "memory"),
    [
        ((), Memory(Bytes(64 * GiB), Bytes(40 * GiB), Bytes(64 * GiB))),
        ((APPLE,), Memory(Bytes(96 * GiB), Bytes(60 * GiB), Bytes(64 * GiB))),
        ((CARD,), Memory(Bytes(24 * GiB), Bytes(20 * GiB), Bytes(64 * GiB), Bytes(40 * GiB))),
        ((CARD, CARD), Memory(Bytes(48 * GiB), Bytes(40 * GiB), Bytes(64 * GiB), Bytes(40 * GiB))),
        # What a processor's own graphics share with it is nothing beside a card.
        (
            (replace(APPLE, vendor="intel"), CARD),
            Memory(Bytes(24 * GiB), Bytes(20 * GiB), Bytes(64 * GiB), Bytes(40 * GiB)),
        ),
    ],
    ids=["no GPU", "unified", "a card", "two cards", "a card and shared graphics"],
)
def test_models_run_in_video_memory_else_in_what_a_gpu_shares_else_in_ram(
    gpus: tuple[Gpu, ...], memory: Memory
) -> None:
    assert memory_of(replace(RAM, gpus=gpus)) == memory


def test_what_resident_models_take_is_not_free_though_it_was_measured_before_they_were_loaded() -> None:
    assert memory_of(replace(RAM, gpus=(CARD,), models=(loaded(18, vram=18),))).free == 6 * GiB
    assert memory_of(replace(RAM, models=(loaded(30),))).free == 34 * GiB


def test_of_a_model_that_is_spread_over_a_card_and_ram_the_card_holds_its_part() -> None:
    spread = replace(RAM, gpus=(CARD,), models=(loaded(30, vram=22),))

    assert models_of(spread)["m:latest"].size_resident == 22 * GiB
    assert memory_of(spread).free == 2 * GiB


def test_a_breath_of_the_machine_is_no_change() -> None:
    breath = replace(RAM, memory_free=Bytes(40 * GiB + MEMORY_STEP - 1))

    assert memory_of(breath) == memory_of(RAM)
    assert memory_of(replace(RAM, memory_free=Bytes(40 * GiB - 1))).free == 40 * GiB - MEMORY_STEP


def test_the_hardware_is_that_of_the_memory() -> None:
    slow = replace(CARD, name="NVIDIA GeForce RTX 3060")
    machine = Machine(cpu="Intel(R) Core(TM) i5-6500")

    assert hardware_of(machine, RAM).kind is MemoryKind.RAM
    assert hardware_of(machine, replace(RAM, gpus=(APPLE,))).bandwidth == 800e9
    assert hardware_of(machine, replace(RAM, gpus=(CARD, slow))).bandwidth == 360e9  # each token waits for both
    assert hardware_of(machine, replace(RAM, gpus=(replace(CARD, bandwidth=7),))).bandwidth == 7


@pytest.mark.parametrize(
    ("said", "workload"),
    [
        ({}, Workload.IDLE),
        ({"workload": "idle"}, Workload.IDLE),
        ({"workload": "moderate"}, Workload.MODERATE),
        ({"workload": "frantic"}, Workload.IDLE),  # of a newer agent, say
        ({"workload": "heavy", "dedicated": True}, None),
    ],
)
def test_an_owner_of_whom_nothing_is_known_does_nothing_and_a_dedicated_machine_has_none(
    said: dict[str, Any], workload: Workload | None
) -> None:
    assert workload_of(replace(RAM, **said)) is workload


@pytest.mark.parametrize("gpus", [(), (APPLE,), (CARD,)])
def test_a_machine_that_is_slowed_by_its_heat_is_so_whatever_models_run_in(gpus: tuple[Gpu, ...]) -> None:
    for thermal, throttled in (("", False), ("nominal", False), ("throttled", True), ("critical", True), ("x", False)):
        assert hardware_of(Machine(), replace(RAM, gpus=gpus, thermal=thermal)).throttled is throttled


def test_a_declared_context_is_that_of_every_load() -> None:
    declared = replace(OLLAMA, context_length=Tokens(16_384))

    assert context_of(RAM) == 0
    assert context_of(replace(RAM, backends=(OLLAMA, declared))) == 16_384


def test_a_server_keeps_memory_for_as_many_requests_as_it_declares_and_no_more_for_what_was_learned() -> None:
    said = replace(RAM, models=(loaded(4),))
    learned = models_of(replace(said, backends=(replace(OLLAMA, parallel=0),)), {"m:latest": 3})["m:latest"]
    declared = models_of(replace(said, backends=(replace(OLLAMA, parallel=4, slots=2),)), {"m:latest": 3})["m:latest"]

    assert (learned.limit, learned.slots) == (3, 1)
    assert (declared.limit, declared.slots) == (4, 2)  # what its owner says of it is no memory


def test_a_limit_that_is_not_declared_is_one() -> None:
    undeclared = BackendInfo(OLLAMA.id, "ollama")
    assert models_of(report(model("m"), backends=(undeclared,)))["m:latest"].limit == 1


def test_of_two_servers_the_one_that_speaks_more_serves_and_then_the_one_that_has_it_resident() -> None:
    def chosen(*models_: object, backends: tuple[BackendInfo, ...]) -> str:
        return models_of(report(*models_, backends=backends))["m:latest"].backend  # type: ignore[arg-type]

    second = BackendInfo(BackendId("second"), "ollama", dialects=OLLAMA.dialects)
    both = (LLAMACPP, OLLAMA, second)
    assert chosen(model("m", LLAMACPP, resident=True), model("M:latest"), backends=both) == "ollama"
    assert chosen(model("m"), model("m", second, resident=True), backends=both) == "second"
    assert chosen(model("m", second), model("m"), backends=both) == "second"


def test_a_model_of_a_server_that_is_not_reported_is_no_model() -> None:
    assert models_of(report(model("m", LLAMACPP))) == {}


def test_models_for_images_are_served_by_an_ollama_that_makes_images_and_others_there_are_not_asked_for_any() -> None:
    painter = replace(model("painter:1"), capabilities=("image",))
    talker = replace(model("talker:1"), capabilities=("completion",))
    makes = replace(OLLAMA, version="0.32.5", apis=apis.native(BackendKind.OLLAMA, "0.32.5"))
    does_not = replace(OLLAMA, version="0.32.6", apis=apis.native(BackendKind.OLLAMA, "0.32.6"))
    picture = Ask(model="m", api=Api.IMAGES, needs=(Capability.IMAGE,))
    chat = Ask(model="m", api=Api.OLLAMA_CHAT)
    generate = Ask(model="m", api=Api.OLLAMA_GENERATE)
    for backend, lacks in ((makes, [False, True, True]), (does_not, [True, True, True])):
        told = models_of(report(painter, talker, model("untold:1"), backends=(backend,)))
        assert [lacking(picture, told[name]) is not None for name in ("painter:1", "talker:1", "untold:1")] == lacks
        assert lacking(chat, told["talker:1"]) is None
        assert lacking(chat, told["untold:1"]) is None
        # It would be refused there: another node may have an Ollama that does not.
        assert (lacking(generate, told["painter:1"]) is None) == (backend is makes)


def test_a_node_has_something_for_images_or_speech_if_a_server_or_a_model_there_is_for_that() -> None:
    paints = BackendInfo(BackendId("mflux"), "mflux", "", ("openai",), apis=(Api.IMAGES, Api.GENERATE_IMAGE))
    ollama = replace(OLLAMA, apis=(Api.OLLAMA_CHAT, Api.IMAGES, Api.TRANSCRIPTIONS, Api.TRANSCRIBE))
    chats = replace(model("llama3.2:3b"), capabilities=("completion",))
    hears = replace(model("gemma3n:e2b"), capabilities=("completion", "audio"))

    assert media_of(report(backends=(paints,))) == (Api.GENERATE_IMAGE, Api.IMAGES)
    assert media_of(report(chats, model("unsaid"), backends=(ollama,))) == ()
    assert media_of(report(chats, hears, backends=(ollama,))) == (Api.TRANSCRIBE, Api.TRANSCRIPTIONS)
    assert media_of(report(hears, backends=(ollama, LLAMACPP, paints))) == (
        Api.GENERATE_IMAGE,
        Api.IMAGES,
        Api.TRANSCRIBE,
        Api.TRANSCRIPTIONS,
    )
