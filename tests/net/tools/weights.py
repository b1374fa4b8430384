"""Weights on a disk, as Hugging Face's libraries keep them: a few bytes for gigabytes."""

from pathlib import Path

from herd.protocols.mflux_models import KNOWN

SIZE = 1000  # bytes of each file


def put_weights(cache: Path, model: str, *, parts: tuple[str, ...] = ("transformer", "vae", "text_encoder")) -> Path:
    """A model's weights in the cache; the snapshot's directory.

    Args:
        cache: as HF_HUB_CACHE names it.
        model: a model of mflux's by its name, or a repository.
        parts: directories that have weights.
    """
    repository = KNOWN[model].repository if model in KNOWN else model
    kept = cache / f"models--{repository.replace('/', '--')}"
    (kept / "blobs").mkdir(parents=True, exist_ok=True)
    snapshot = kept / "snapshots" / "741f7c3ce8b383c54771c7003378a50191e9efe9"
    for part in parts:
        (snapshot / part).mkdir(parents=True)
        blob = kept / "blobs" / f"of-{part}"
        blob.write_bytes(bytes(SIZE))
        (snapshot / part / "model.safetensors").symlink_to(blob)
    return snapshot
