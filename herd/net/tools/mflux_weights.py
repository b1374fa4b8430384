"""Which models mflux finds on this machine's disk: in the cache of Hugging Face's libraries, and its own.

The cache's layout: https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from herd.net.tools.hugging_face import cache_directory
from herd.protocols.mflux_models import Weights, cached, saved
from herd.types import Bytes

# Far more than disks have room for. Each is looked into again and again.
MAX_MODELS = 100

_SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.safetensors", re.ASCII)


@dataclass(frozen=True, slots=True)
class OnDisk:
    """A model that can be run."""

    weights: Weights
    size: Bytes


def on_disk(environ: Mapping[str, str]) -> tuple[OnDisk, ...]:
    """The models whose weights are all there, by name. Reads the disk: a few milliseconds for each.

    Args:
        environ: of mflux; says where it looks.
    """
    found: dict[str, OnDisk] = {}
    for weights, places in (*_cached(cache_directory(environ)), *_saved(environ.get("MFLUX_MODELS_DIR"))):
        sizes = [size for place in places if (size := _size(place, weights.base.parts)) is not None]
        if sizes and len(found) < MAX_MODELS:
            found.setdefault(weights.name, OnDisk(weights, Bytes(sizes[0])))
    return tuple(found[name] for name in sorted(found))


def _cached(cache: Path) -> Iterator[tuple[Weights, list[Path]]]:
    for directory in _directories(cache):
        if weights := cached(directory.name):
            yield weights, _directories(directory / "snapshots")


def _saved(place: str | None) -> Iterator[tuple[Weights, list[Path]]]:
    for directory in _directories(Path(place).expanduser()) if place else ():
        if weights := saved(directory.name, str(directory)):
            yield weights, [directory]


def _directories(place: Path) -> list[Path]:
    try:
        return sorted(each for each in place.iterdir() if each.is_dir())
    except OSError:  # there is none
        return []


def _size(place: Path, parts: tuple[str, ...]) -> int | None:
    """Bytes of the weights there; None where some are missing.

    What is at the top of a repository is often the same weights once more, for other programs.
    """
    found = {directory.name: _weigh(directory) for directory in _directories(place)}
    if "" in parts:
        found[""] = _weigh(place)
    if not all(found.get(part) for part in parts) or None in found.values():
        return None
    return sum(size for size in found.values() if size is not None)


def _weigh(directory: Path) -> int | None:
    """Bytes of the weights in one directory; None where some are missing: a link into the cache leads nowhere while
    they are fetched.
    """
    try:
        files = {file.name: file.stat().st_size for file in directory.glob("*.safetensors")}
    except OSError:
        return None
    for name in files:
        if (shard := _SHARD.fullmatch(name)) is not None:
            of = int(shard[3])
            if any(f"{shard[1]}-{number:05}-of-{shard[3]}.safetensors" not in files for number in range(1, of + 1)):
                return None
    return sum(files.values())
