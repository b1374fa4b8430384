import pytest

from herd.protocols.fitness import with_fit_models
from herd.protocols.messages import ModelInfo, Report
from herd.protocols.untrusted import MAX_MODEL_NAME
from herd.types import BackendId, ModelName


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
