"""Which models lie in the cache of Hugging Face's libraries, which most tools keep theirs in.

Its layout: https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

import json
from collections.abc import Mapping
from pathlib import Path

from herd.types import Bytes

_INDEX = "model.safetensors.index.json"  # of weights in several files


def cache_directory(environ: Mapping[str, str]) -> Path:
    """Where the libraries keep what they have fetched, as they find it themselves."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if named := environ.get(name):
            return Path(named).expanduser()
    home = environ.get("HF_HOME") or Path(environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(home).expanduser() / "hub"


def weights_on_disk(repository: str, environ: Mapping[str, str]) -> Bytes | None:
    """The size of a model's weights; None where they are not there, or not all of them. Reads the disk."""
    kept = cache_directory(environ) / f"models--{repository.replace('/', '--')}"
    try:
        commit = (kept / "refs" / "main").read_text(encoding="utf-8").strip()
        snapshot = kept / "snapshots" / commit
        # Links to what is still being fetched lead nowhere: they are made last.
        files = {file.name: file.stat().st_size for file in snapshot.glob("*.safetensors")}
        if (snapshot / _INDEX).is_file():
            wanted = set(json.loads((snapshot / _INDEX).read_text(encoding="utf-8"))["weight_map"].values())
            if not wanted <= files.keys():
                return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return Bytes(sum(files.values())) if files else None
