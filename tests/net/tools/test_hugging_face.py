"""Which models lie in the cache of Hugging Face's libraries."""

import json
from pathlib import Path

import pytest

from herd.net.tools.hugging_face import cache_directory, weights_on_disk

MODEL = "Qwen/Qwen3-ASR-1.7B"


def kept(directory: Path, *files: str) -> Path:
    """A snapshot of the model with weights of 10 bytes in each of these files, as the libraries lay it out."""
    repository = directory / "models--Qwen--Qwen3-ASR-1.7B"
    snapshot = repository / "snapshots" / "0af3"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0af3\n")
    (repository / "blobs").mkdir()
    for name in files:
        (repository / "blobs" / name).write_bytes(bytes(10))
        (snapshot / name).symlink_to(Path("../../blobs") / name)
    return snapshot


def index(snapshot: Path, *files: str) -> None:
    text = json.dumps({"weight_map": {f"layer.{number}": file for number, file in enumerate(files)}})
    (snapshot / "model.safetensors.index.json").write_text(text)


def test_a_model_is_as_large_as_its_weights(tmp_path: Path) -> None:
    snapshot = kept(tmp_path, "a.safetensors", "b.safetensors", "config.json")
    index(snapshot, "a.safetensors", "b.safetensors", "a.safetensors")
    assert weights_on_disk(MODEL, {"HF_HUB_CACHE": str(tmp_path)}) == 20
    assert weights_on_disk("Qwen/Qwen3-ASR-0.6B", {"HF_HUB_CACHE": str(tmp_path)}) is None


@pytest.mark.parametrize("trouble", ["no snapshot", "no weights", "a link that leads nowhere", "a part", "no index"])
def test_a_model_that_is_not_whole_is_not_there(tmp_path: Path, trouble: str) -> None:
    snapshot = kept(tmp_path, *([] if trouble == "no weights" else ["a.safetensors"]))
    match trouble:
        case "no snapshot":
            (snapshot.parents[1] / "refs" / "main").write_text("other")
        case "a link that leads nowhere":
            (snapshot.parents[1] / "blobs" / "a.safetensors").unlink()
        case "a part":
            index(snapshot, "a.safetensors", "b.safetensors")
        case "no index":
            (snapshot / "model.safetensors.index.json").write_text("[]")
    assert weights_on_disk(MODEL, {"HF_HUB_CACHE": str(tmp_path)}) is None


@pytest.mark.parametrize(
    ("environ", "directory"),
    [
        ({"HF_HUB_CACHE": "/a", "HF_HOME": "/b"}, "/a"),
        ({"HUGGINGFACE_HUB_CACHE": "/a"}, "/a"),
        ({"HF_HOME": "/b", "XDG_CACHE_HOME": "/c"}, "/b/hub"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub"),
        ({}, str(Path("~/.cache/huggingface/hub").expanduser())),
    ],
)
def test_the_cache_is_where_the_libraries_look_for_it(environ: dict[str, str], directory: str) -> None:
    assert cache_directory(environ) == Path(directory)
