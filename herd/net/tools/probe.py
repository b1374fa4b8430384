"""Which of the tools that Herd runs are installed on this machine, and can work on it."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass

# Where their installers put commands. A service is started with a PATH that has none of them.
_USUAL = ("~/.local/bin", "/opt/homebrew/bin", "/usr/local/bin")
_NVIDIA = "nvidia-smi"  # comes with the driver


@dataclass(frozen=True, slots=True)
class Tools:
    """Paths of commands; None where there is none of use."""

    mflux: str | None = None  # its `mflux-capabilities`
    qwen_asr: str | None = None


def find_tools(environ: Mapping[str, str], system: str, machine: str) -> Tools:
    """The tools of this machine. Starts none of them.

    All compute with MLX, which has Apple's chips, and on Linux those of NVIDIA.

    Args:
        environ: of this process: where commands are.
        system: as `platform.system()` has it.
        machine: as `platform.machine()` has it.
    """
    path = search_path(environ)
    apple = system == "Darwin" and machine == "arm64"
    if not apple and not (system == "Linux" and shutil.which(_NVIDIA, path=path)):
        return Tools()
    return Tools(shutil.which("mflux-capabilities", path=path), shutil.which("mlx-qwen3-asr", path=path))


def search_path(environ: Mapping[str, str]) -> str:
    """Where commands are looked for, by tools too, as for ffmpeg: PATH, and behind it the usual places."""
    home = environ.get("HOME", "")
    usual = [place.replace("~", home) for place in _USUAL if home or not place.startswith("~")]
    return os.pathsep.join([*filter(None, [environ.get("PATH")]), *usual])
