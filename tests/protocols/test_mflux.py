"""What mflux's commands are told, and what is made of what they say; the capabilities are those of mflux 0.24.0."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.errors import HerdError, ProtocolError, RequestError
from herd.protocols.mflux import (
    MAX_SEED,
    OUTPUT,
    SIDECAR,
    Capabilities,
    Option,
    Run,
    plan,
    read_capabilities,
    read_fields,
    read_wish,
)
from herd.protocols.mflux_models import KNOWN, Weights, cached, saved
from herd.protocols.mflux_output import HEAD, Progress, dimensions, failure, frames, kilopixel_steps

T = TypeVar("T")
STAND_INS = Path(__file__).parents[1] / "net" / "tools" / "stand_ins"
CAPABILITIES = read_capabilities((STAND_INS / "capabilities.json").read_bytes())


def weights(name: str) -> Weights:
    return Weights(name, KNOWN[name], name, saved=False)


def planned(model: str = "schnell", *, pictures: tuple[str, ...] | None = None, **fields: Any) -> Run:
    wish = read_wish({"model": model, "prompt": "a red fox"} | fields)
    return plan(CAPABILITIES, weights(model), wish, 1, pictures)


def made_or_refused(make: Callable[[], T]) -> T | HerdError:
    try:
        return make()
    except HerdError as error:
        return error


def after(run: Run, option: str) -> str:
    return run.words[run.words.index(option) + 1]


# --- what commands take -----------------------------------------------------------------------------------------------


def test_capabilities_say_which_commands_there_are_and_what_they_take() -> None:
    assert CAPABILITIES.version == "0.24.0"
    options = CAPABILITIES.command("mflux-generate")
    assert options is not None
    assert options["-q"].choices == ("3", "4", "5", "6", "8")
    assert options["--negative-prompt"].status == "ignored"
    assert options["--guidance"].status == "conditional"


def test_commands_that_cannot_be_told_a_prompt_in_private_are_none() -> None:
    assert "mflux-generate-fill" in CAPABILITIES.commands
    assert CAPABILITIES.command("mflux-generate-fill") is None
    assert CAPABILITIES.command("") is None


def test_a_command_that_could_not_be_imported_is_none() -> None:
    entry = {"command": "mflux-generate", "coverage": "import-error", "error": "no CUDA"}
    document = {"mflux_version": "0.24.0", "commands": [entry]}
    assert read_capabilities(json.dumps(document).encode()).commands == {}


@pytest.mark.parametrize("document", [b"", b"[]", b'{"commands": 3}', b"Traceback (most recent call last):"])
def test_what_is_no_capabilities_is_an_error_in_a_sentence(document: bytes) -> None:
    with pytest.raises(ProtocolError, match="mflux"):
        read_capabilities(document)


KEYS = ["commands", "command", "coverage", "options", "flag", "aliases", "choices", "status", "mflux_version"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=20,
)


@given(JSON)
def test_capabilities_of_any_shape_are_read_or_refused(document: object) -> None:
    body = json.dumps(document).encode()
    assert isinstance(made_or_refused(lambda: read_capabilities(body)), Capabilities | ProtocolError)


# --- whose weights ----------------------------------------------------------------------------------------------------


def test_repositories_are_those_of_mflux_own_registry() -> None:
    registry = json.loads((STAND_INS / "repositories.json").read_text())
    for known in KNOWN.values():
        assert registry[known.name] == f"models--{known.repository.replace('/', '--')}"
        found = cached(registry[known.name])
        assert found is not None
        assert found.name == found.source == known.name


@pytest.mark.parametrize(
    ("directory", "name", "base"),
    [
        ("models--filipstrand--Z-Image-Turbo-mflux-4bit", "filipstrand/Z-Image-Turbo-mflux-4bit", "z-image-turbo"),
        ("models--me--FLUX.1-schnell-mflux-v0.6.2-4bit", "me/FLUX.1-schnell-mflux-v0.6.2-4bit", "schnell"),
        ("models--me--flux2-klein-base-9b-mflux-q8", "me/flux2-klein-base-9b-mflux-q8", "flux2-klein-base-9b"),
    ],
)
def test_what_mflux_saved_and_somebody_published_goes_by_its_repository(directory: str, name: str, base: str) -> None:
    assert cached(directory) == Weights(name, KNOWN[base], name, saved=True)


@pytest.mark.parametrize(
    "directory",
    ["models--Qwen--Qwen3-8B", "models--me--devious-mflux", "models--mflux", "datasets--me--dev-mflux", "models--", ""],
)
def test_other_repositories_are_none_of_its_models(directory: str) -> None:
    assert cached(directory) is None


def test_what_mflux_saved_on_this_machine_goes_by_its_directory() -> None:
    found = saved("schnell-mflux-q4", "/models/schnell-mflux-q4")
    assert found == Weights("schnell-mflux-q4", KNOWN["schnell"], "/models/schnell-mflux-q4", saved=True)
    assert saved("llama-mflux-q4", "/models/llama-mflux-q4") is None
    assert saved("schnell", "/models/schnell") is None
    wish = read_wish({"model": "schnell-mflux-q4", "prompt": "a red fox"})
    run = plan(CAPABILITIES, found, wish, 1)
    assert run.words[:5] == ("mflux-generate", "--model", "/models/schnell-mflux-q4", "--base-model", "schnell")


# --- what is wished ---------------------------------------------------------------------------------------------------


def test_a_form_s_words_are_read_as_numbers() -> None:
    wish = read_wish({"model": "dev", "prompt": "p", "n": "2", "steps": "20", "guidance": "3.5", "size": "64x128"})
    assert (wish.count, wish.steps, wish.guidance, wish.size) == (2, 20, 3.5, (64, 128))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"prompt": ""}, "prompt is missing"),
        ({"prompt": " \n"}, "prompt is missing"),
        ({"prompt": 5}, "prompt must be a string"),
        ({"prompt": "x" * 32_001}, "prompt is longer than 32000 characters"),
        ({"size": "1000x1000"}, "mflux makes images whose sides are multiples of 16, from 64 to 4096 pixels: "),
        ({"size": "16x16"}, "mflux makes images whose sides are"),
        ({"size": "large"}, 'size must be like "1024x1024"'),
        ({"n": 11}, "n must be a number from 1 to 10"),
        ({"n": 1.5}, "n must be a whole number from 1 to 10"),
        ({"steps": True}, "steps must be a number from 1 to 200"),
        ({"steps": "many"}, "steps must be a number"),
        ({"guidance": float("nan")}, "guidance must be a number from 0 to 100"),
        ({"seed": -1}, "seed must be a number from 0"),
        ({"quantize": 7}, "quantize must be one of 3, 4, 5, 6, 8"),
        ({"response_format": "url"}, 'response_format "url" is not to be had from mflux: only "b64_json" is'),
        ({"output_format": "webp"}, 'output_format "webp" is not to be had from mflux: only "png" is'),
        ({"stream": True}, "mflux's images come whole: leave stream out"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_field_s_name(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RequestError) as refused:
        planned(**fields)
    assert refused.value.status == 400
    assert str(refused.value).startswith(sentence)


@given(
    st.dictionaries(
        st.sampled_from(["model", "prompt", "n", "size", "steps", "guidance", "seed", "quantize", "quality", "stream"]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.lists(st.integers()),
    )
)
def test_fields_of_any_type_give_a_run_or_a_refusal(fields: dict[str, Any]) -> None:
    run = made_or_refused(lambda: plan(CAPABILITIES, weights("dev"), read_wish(fields), MAX_SEED))
    if isinstance(run, Run):
        assert len(run.outputs) == read_wish(fields).count
        assert all(word.isprintable() for word in run.words)
    else:
        assert run.status in {400, 500}


@pytest.mark.parametrize("body", [b"", b"[]", b'"text"', b"{", b"\xff"])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError, match="the request must be a JSON object"):
        read_fields(body)


# --- how a command is called ------------------------------------------------------------------------------------------


def test_a_request_becomes_the_words_of_its_model_s_command() -> None:
    run = planned("dev", size="512x768", steps=20, guidance=3.5, quantize=8, seed=42)
    assert run.words == (
        *("mflux-generate", "--model", "dev", "--config-from-conf", SIDECAR, "--seed", "42"),
        *("--output", OUTPUT, "--no-exif", "--width", "512", "--height", "768"),
        *("--steps", "20", "--guidance", "3.5", "--quantize", "8"),
    )
    assert run.outputs == (OUTPUT,)
    assert run.ignored == ()


def test_prompts_are_in_a_file_and_never_among_the_words() -> None:
    run = planned("z-image", prompt="--seed 7", negative_prompt="blur", guidance=4)
    assert json.loads(run.sidecar) == {"prompt": "--seed 7", "negative_prompt": "blur"}
    assert "blur" not in " ".join(run.words) + repr(run)


def test_several_images_have_seeds_one_after_the_other_and_files_that_mflux_names_after_them() -> None:
    assert planned(n=3, seed=9).outputs == ("image_seed_9.png", "image_seed_10.png", "image_seed_11.png")


@pytest.mark.parametrize(
    ("model", "fields", "ignored"),
    [
        ("schnell", {"guidance": 3.5}, ("guidance",)),  # its command takes it, this model has none
        ("schnell", {"negative_prompt": "rain"}, ("negative_prompt",)),
        ("flux2-klein-4b", {"guidance": 4, "negative_prompt": "rain"}, ("guidance", "negative_prompt")),
        ("z-image-turbo", {"guidance": 4, "steps": 8}, ("guidance",)),
        ("z-image", {"negative_prompt": "rain"}, ("negative_prompt",)),  # without guidance there is nothing to oppose
        ("z-image", {"negative_prompt": "rain", "guidance": 4}, ()),
        ("dev", {"quality": "hd", "style": "vivid", "background": "auto"}, ("quality", "style")),
    ],
)
def test_what_a_model_does_not_heed_is_named(model: str, fields: dict[str, Any], ignored: tuple[str, ...]) -> None:
    run = planned(model, **fields)
    assert run.ignored == ignored
    assert not {f"--{name}" for name in ignored} & set(run.words)


def test_a_distilled_model_is_not_told_what_its_command_claims_to_take() -> None:
    command = CAPABILITIES.commands["mflux-generate-z-image"]
    options = {flag: Option(option.flag, "honored", option.choices) for flag, option in command.items()}
    turbo = KNOWN["qwen-image-2.1-turbo"]  # refuses any guidance, with its sibling's command
    wish = read_wish({"model": turbo.name, "prompt": "p", "guidance": 4, "negative_prompt": "rain", "steps": 8})
    capabilities = Capabilities("0.24.0", {turbo.makes: options})
    run = plan(capabilities, weights(turbo.name), wish, 1)
    assert run.ignored == ("guidance", "negative_prompt")
    assert after(run, "--steps") == "8"


def test_pictures_go_to_the_command_that_edits() -> None:
    several = planned("flux2-klein-4b", pictures=("a.png", "b.png"))
    assert several.words[0] == "mflux-generate-flux2-edit"
    assert several.words[several.words.index("--image-paths") :][:3] == ("--image-paths", "a.png", "b.png")
    assert after(planned("dev-kontext", pictures=("a.png",)), "--image-path") == "a.png"


@pytest.mark.parametrize(
    ("model", "pictures", "sentence"),
    [
        ("schnell", ("a.png",), "schnell cannot edit images; it makes new images only: /v1/images/generations"),
        ("dev-kontext", None, "dev-kontext cannot make images; it only edits images: /v1/images/edits"),
        ("dev-kontext", ("a.png", "b.png"), "dev-kontext edits one image at a time"),
        ("qwen-image", None, "mflux 0.24.0 on this node has no command mflux-generate-qwen that Herd can use"),
    ],
)
def test_what_a_model_cannot_do_says_what_it_can(model: str, pictures: tuple[str, ...] | None, sentence: str) -> None:
    with pytest.raises(RequestError) as refused:
        planned(model, pictures=pictures)
    assert str(refused.value).startswith(sentence)


# --- what a command says ----------------------------------------------------------------------------------------------


def test_progress_counts_the_steps_of_all_images() -> None:
    progress = Progress()
    assert not progress.said("Fetching 23 files: 100%|██████████| 23/23 [00:00<00:00, 100.00it/s]")
    assert not progress.said("INFO: Image saved successfully at: image.png")
    assert (progress.steps, progress.image_steps) == (0, 0)
    for line in ("  0%|          | 0/4 [00:00<?, ?it/s]", " 25%|██▌       | 1/4 [00:01<00:03,  1.30s/it]"):
        assert progress.said(line.strip())
    assert (progress.steps, progress.image_steps) == (1, 4)
    for line in ("100%|██████████| 4/4 [00:05<00:00]", "100%|██████████| 4/4 [00:05<00:00]", "0%|     | 0/4 [00:00<?]"):
        assert progress.said(line)
    assert progress.steps == 4
    assert progress.said("50%|█████     | 2/4 [00:02<00:02]")
    assert progress.steps == 6


@given(st.text(max_size=40))
def test_lines_of_any_kind_are_progress_or_not(line: str) -> None:
    progress = Progress()
    progress.said(line)
    assert progress.steps >= 0


WISH = read_wish({"model": "schnell", "prompt": "Ada's garden party", "negative_prompt": "Bob"})


@pytest.mark.parametrize(
    ("status", "out", "err", "answer", "sentence"),
    [
        (0, "Battery below 5% threshold: 4%", [], 503, "mflux stopped without an image: Battery below 5% thres"),
        (0, "", [], 503, "mflux stopped without an image: it gives no reason"),
        (-9, "", [], 500, "mflux was ended by SIGKILL: often that is want of memory"),
        (-44, "", [], 500, "mflux was ended by signal 44: often that is want of memory"),
        (2, "", ["usage:", "mflux-generate: error: --steps: no"], 400, "mflux refuses the request: --steps: no"),
        (1, "", ["ValueError: no"], 500, "mflux failed: ValueError: no"),
        (1, "", ["a.b.ImageSavingException"], 500, "mflux failed: ImageSavingException"),
        (1, "", ["KeyError: 'Bob'"], 500, "mflux failed: KeyError"),
        (1, "", ["ValueError: garden is no token"], 500, "mflux failed: ValueError"),
        (1, "", ["ValueError: 花园"], 500, "mflux failed: ValueError"),
        (1, "", [], 500, "mflux failed: exit status 1"),
        (1, "", ["std::bad_alloc", "Abort"], 503, "mflux ran out of memory with schnell"),
        (127, "", ["mflux-generate: No such file or directory"], 500, "mflux failed: mflux-generate: No such file or"),
        (
            1, "", ["huggingface_hub.errors.OfflineModeIsEnabled: Cannot reach https://huggingface.co/api"], 503,
            "the weights of schnell on this node are not whole",
        ),
    ],
)  # fmt: skip
def test_a_run_without_images_is_a_sentence_without_a_word_of_the_client_s(
    status: int, out: str, err: list[str], answer: int, sentence: str
) -> None:
    error = failure(status, out, err, WISH)
    assert error.status == answer
    assert str(error).startswith(sentence)
    assert not {"garden", "party", "Bob", "Ada"} & set(str(error).replace("'", " ").split())


@given(st.integers(-64, 255), st.text(max_size=300), st.lists(st.text(max_size=400), max_size=3))
def test_failures_of_any_kind_have_a_bounded_sentence(status: int, out: str, err: list[str]) -> None:
    error = failure(status, out, err, WISH)
    assert error.status in {400, 500, 503}
    assert 0 < len(str(error)) < 500


def test_the_work_is_measured_by_the_image_itself() -> None:
    head = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (640).to_bytes(4, "big") + (480).to_bytes(4, "big")
    assert dimensions(head) == (640, 480)
    assert all(dimensions(head[:length]) is None for length in range(HEAD))
    assert kilopixel_steps(640, 480, 4) == 1229


@given(st.integers(1, 10))
def test_the_answer_is_open_ai_s_with_what_it_took_last(images: int) -> None:
    pieces = frames(1_700_000_000, images, {"load_s": 1.5})
    assert len(pieces) == images + 1
    answer = json.loads(b"aGk=".join(pieces))
    assert [item["b64_json"] for item in answer["data"]] == ["aGk="] * images
    assert list(answer) == ["created", "data", "output_format", "herd"]
