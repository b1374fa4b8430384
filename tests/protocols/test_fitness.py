import time
from dataclasses import replace

import pytest

from herd.protocols.fitness import (
    MAX_PAUSES,
    MAX_TIME,
    flaw_of_report,
    with_fit_gpus,
    with_fit_models,
    with_fit_owner,
)
from herd.protocols.messages import BackendInfo, Gpu, ModelInfo, Pause, Report
from herd.protocols.untrusted import MAX_GPUS, MAX_MODEL_NAME
from herd.types import BackendId, Bytes, ModelName, Seconds, Tokens

GPU = Gpu("GPU-1", "NVIDIA GeForce RTX 4090", "nvidia", Bytes(24), Bytes(20), bandwidth=1)
MODEL = ModelInfo(ModelName("m"), BackendId("b"))


def report(*names: str) -> Report:
    return Report(models=tuple(ModelInfo(ModelName(name), BackendId("b")) for name in names), cpu=0.5)


@pytest.mark.parametrize(
    "name", ["", "a\r\nX-Evil: 1", "\x1b[2J", "a\tb", "\x00", "\u202egpj", "x" * (MAX_MODEL_NAME + 1)]
)
def test_a_model_that_no_client_could_name_is_left_out_and_the_others_stay(name: str) -> None:
    assert with_fit_models(report("good", name, "hf.co/unsloth/Qwen3:Q4_K_M")) == report(
        "good", "hf.co/unsloth/Qwen3:Q4_K_M"
    )


def test_a_report_of_fit_models_is_handed_on_as_it_is() -> None:
    fit = report("llama3.2:3b", "/models/größer.gguf", "x" * MAX_MODEL_NAME)
    assert with_fit_models(fit) is fit


def test_as_many_gpus_as_no_machine_has_are_refused() -> None:
    assert flaw_of_report(Report(gpus=(GPU,) * MAX_GPUS)) == ""
    assert flaw_of_report(Report(gpus=(GPU,) * (MAX_GPUS + 1))) == "it lists 65 GPUs, and 64 are allowed"


@pytest.mark.parametrize(
    "strange",
    [
        Report(gpus=(replace(GPU, memory_total=Bytes(-1)),)),
        Report(gpus=(replace(GPU, memory_free=Bytes(2**64 - 1)),)),
        Report(gpus=(replace(GPU, bandwidth=-1),)),
        Report(models=(replace(MODEL, kv_per_token=Bytes(-1)),)),
        Report(models=(MODEL, replace(MODEL, context_max=Tokens(-1)))),
        Report(models=(replace(MODEL, steps=-1),)),
        Report(backends=(BackendInfo(BackendId("b"), "ollama", context_length=Tokens(-1)),)),
        Report(backends=(BackendInfo(BackendId("b"), "ollama", parallel=-1),)),
        Report(models=(replace(MODEL, size=Bytes(-1)),)),
        Report(models=(replace(MODEL, size_resident=Bytes(-1)),)),
        Report(models=(replace(MODEL, size_vram=Bytes(-1)),)),
        Report(models=(replace(MODEL, context_length=Tokens(-1)),)),
        Report(memory_total=Bytes(-1)),
        Report(memory_free=Bytes(2**64 - 1)),
        Report(models=(replace(MODEL, active_share=0.0),)),
        Report(models=(replace(MODEL, active_share=1.1),)),
    ],
)
def test_amounts_that_cannot_be_are_refused(strange: Report) -> None:
    assert flaw_of_report(strange).endswith(" in it is none")


def test_what_is_said_of_an_owner_is_in_known_words_and_bounds_or_not_said() -> None:
    sound = Report(workload="light", owner_load=0.5, thermal="throttled", dedicated=True)
    assert with_fit_owner(sound) == sound
    assert with_fit_owner(Report()) == Report()
    for load, fit in ((-1.0, 0.0), (7.5, 1.0)):
        assert with_fit_owner(Report(owner_load=load)).owner_load == fit
    assert with_fit_owner(Report(workload="\x1b[2J", thermal="lukewarm")) == Report()


def test_a_pause_stays_one_whatever_it_says_and_can_be_shown() -> None:
    odd = Pause("a\r\nb", "is\x1b[2J" + "x" * 1000, Seconds(-1e300), Seconds(1e300))
    (fit,) = with_fit_owner(Report(pauses=(odd,))).pauses
    assert (fit.kind, fit.text[:6], len(fit.text)) == ("a  b", "is [2J", 300)
    assert (fit.since, fit.until) == (0.0, MAX_TIME)
    assert time.localtime(MAX_TIME).tm_year in {2999, 3000}  # it can be shown
    meeting = Pause("meeting", "is in a meeting: its camera is in use", Seconds(1_700_000_000.0))
    assert with_fit_owner(Report(pauses=(meeting,))).pauses == (meeting,)


def test_pauses_end_somewhere() -> None:
    many = tuple(Pause(f"p{number}", "", Seconds(0.0)) for number in range(MAX_PAUSES + 1))
    assert with_fit_owner(Report(pauses=many)).pauses == many[:MAX_PAUSES]


def test_names_of_gpus_are_made_fit_for_terminals_and_end_somewhere() -> None:
    odd = replace(GPU, id="a\r\nb", name="\x1b[2J" + "x" * 1000, vendor="n\x00")
    (fit,) = with_fit_gpus(Report(gpus=(odd,))).gpus
    assert (fit.id, fit.vendor) == ("a  b", "n ")
    assert fit.name.startswith(" [2Jxx")
    assert len(fit.name) == 300
    sound = Report(gpus=(GPU,))
    assert with_fit_gpus(sound) is sound
