"""Which models mflux finds on a disk."""

from pathlib import Path

from herd.net.tools.mflux_weights import on_disk
from tests.net.tools.weights import SIZE, put_weights


def found(cache: Path, **variables: str) -> dict[str, int]:
    environ = {"HF_HUB_CACHE": str(cache)} | variables
    return {each.weights.name: each.size for each in on_disk(environ)}


def test_models_in_the_cache_are_found_with_the_size_of_their_weights(tmp_path: Path) -> None:
    put_weights(tmp_path, "schnell")
    put_weights(tmp_path, "filipstrand/Z-Image-Turbo-mflux-4bit", parts=("transformer", "vae"))
    put_weights(tmp_path, "Qwen/Qwen3-8B")
    assert found(tmp_path) == {"filipstrand/Z-Image-Turbo-mflux-4bit": 2 * SIZE, "schnell": 3 * SIZE}


def test_the_cache_is_where_the_libraries_have_it(tmp_path: Path) -> None:
    put_weights(tmp_path / "hub", "schnell")
    put_weights(tmp_path / "huggingface" / "hub", "dev")
    assert [each.weights.name for each in on_disk({"HF_HOME": str(tmp_path)})] == ["schnell"]
    assert [each.weights.name for each in on_disk({"XDG_CACHE_HOME": str(tmp_path)})] == ["dev"]
    assert on_disk({"HF_HUB_CACHE": str(tmp_path / "none")}) == ()


def test_what_lies_at_the_top_of_a_repository_for_other_programs_is_not_counted(tmp_path: Path) -> None:
    (put_weights(tmp_path, "schnell") / "flux1-schnell.safetensors").write_bytes(bytes(50_000))
    (put_weights(tmp_path, "krea-2", parts=("vae", "text_encoder")) / "turbo.safetensors").write_bytes(bytes(5000))
    assert found(tmp_path) == {"krea-2": 5000 + 2 * SIZE, "schnell": 3 * SIZE}


def test_weights_that_are_still_being_fetched_are_no_model(tmp_path: Path) -> None:
    put_weights(tmp_path, "schnell", parts=("vae",))  # the rest has not begun
    snapshot = put_weights(tmp_path, "dev")
    (snapshot / "transformer" / "a.safetensors").symlink_to(tmp_path / "nowhere")
    shards = put_weights(tmp_path, "z-image") / "transformer"
    (shards / "model-00001-of-00002.safetensors").write_bytes(b"x")
    assert found(tmp_path) == {}
    (shards / "model-00002-of-00002.safetensors").write_bytes(b"x")
    assert found(tmp_path) == {"z-image": 3 * SIZE + 2}


def test_what_mflux_saved_is_found_where_it_saves(tmp_path: Path) -> None:
    for part in ("transformer", "vae"):
        (tmp_path / "saved" / "schnell-mflux-q4" / part).mkdir(parents=True)
        (tmp_path / "saved" / "schnell-mflux-q4" / part / "0.safetensors").write_bytes(bytes(SIZE))
    (tmp_path / "saved" / "notes").mkdir()
    assert found(tmp_path / "none", MFLUX_MODELS_DIR=str(tmp_path / "saved")) == {"schnell-mflux-q4": 2 * SIZE}
