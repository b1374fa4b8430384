"""Which processes are not the owner's: model servers and Herd, by the words they were started with.

The words are looked at and forgotten; what is kept of a process is its role.
"""

import re
from collections.abc import Sequence
from enum import Enum


class Role(Enum):
    """What a process that is not the owner's is for."""

    HERD = "herd"
    MANAGER = "manager"  # starts model servers, computes nothing itself
    SERVER = "server"  # runs models
    KERNEL = "kernel"  # a thread of Linux's, which works for whoever has asked for something: perhaps a model server


# Programs by their file's name, of which some serve only with these words after it. Ollama's own rule for what its
# process is: `serve` or `start`, and `runner` for its children; `run` and `pull` are clients.
_PROGRAMS: dict[str, dict[str, Role] | Role] = {
    "ollama": {"serve": Role.MANAGER, "start": Role.MANAGER, "runner": Role.SERVER},
    "ollama app": Role.MANAGER,
    "ollama_llama_server": Role.SERVER,
    "llama-server": Role.SERVER,
    "llama-swap": Role.MANAGER,
    "whisper-server": Role.SERVER,
    "sd-server": Role.SERVER,
    "local-ai": Role.SERVER,
    "lm studio": Role.SERVER,
    "llmster": Role.SERVER,
}
# What a Python interpreter runs: the file's name of a script, or the module after `-m`.
_SCRIPTS: dict[str, dict[str, Role] | Role] = {
    "vllm": {"serve": Role.SERVER},
    "sglang": {"serve": Role.SERVER},
    "vllm.entrypoints.openai.api_server": Role.SERVER,
    "sglang.launch_server": Role.SERVER,
    "llama_cpp.server": Role.SERVER,
    "mlx_lm.server": Role.SERVER,
    "mlx_lm": {"server": Role.SERVER},
    "mlx-qwen3-asr": {"serve": Role.SERVER},
    "mlx_audio.server": Role.SERVER,
    "faster-whisper-server": Role.SERVER,
    "speaches": Role.SERVER,
    "exo": Role.SERVER,
    "herd.net.embedded_server": Role.SERVER,
    "herd.net.tools.guard": Role.MANAGER,
    "herd": Role.HERD,
    "herd-node": Role.HERD,
}
# vLLM and SGLang write these in place of their workers' words.
_TITLES = ("VLLM::", "sglang::")
# LM Studio's workers run on a Node.js of its own, which is named as any other.
_LM_STUDIO = re.compile(r"[/\\]\.lmstudio[/\\]|[/\\]LM Studio(\.app)?[/\\]")
_PYTHON = re.compile(r"(python|pypy)[\d.]*w?")
_OPTIONS_WITH_VALUES = ("-X", "-W")
# What stands before a server's own words is a handful of options; the rest is none of our business.
_MAX_WORDS = 12

# They pass on what comes in at a port to a server that is not their child: in a container, in a virtual machine, or
# elsewhere.
FORWARDERS = frozenset(
    (
        "docker-proxy", "com.docker.backend", "com.docker.vpnkit", "vpnkit", "rootlessport", "slirp4netns", "pasta",
        "gvproxy", "wslrelay", "wslhost", "limactl", "orbstack helper", "ssh", "sshd", "socat",
    )
)  # fmt: skip


def role_of(words: Sequence[str]) -> Role | None:
    """The role of a process started with these words, the program and its arguments; None for one of the owner's."""
    if not words:
        return None
    program, arguments = words[0], words[1:_MAX_WORDS]
    if program.startswith(_TITLES):
        return Role.SERVER
    if _LM_STUDIO.search(program):
        return Role.SERVER
    name = file_name(program)
    if _PYTHON.fullmatch(name):
        return _script(arguments)
    if name.startswith("lm studio helper"):
        return Role.SERVER
    return _among(_PROGRAMS, name, arguments)


def role_of_name(name: str) -> Role | None:
    """The role of a process of which the system says no more than its name.

    Those are other users' on macOS and Windows, where a server may be the system's service, and the kernel's threads.
    """
    if name == "kthreadd":  # of which all of Linux's threads are children
        return Role.KERNEL
    found = _PROGRAMS.get(file_name(name))
    return Role.MANAGER if isinstance(found, dict) else found


def file_name(path: str) -> str:
    """`Ollama.exe` and `/usr/bin/ollama` are `ollama`."""
    return re.split(r"[/\\]", path)[-1].lower().removesuffix(".exe")


def _script(arguments: Sequence[str]) -> Role | None:
    """The role of what a Python interpreter runs."""
    words = iter(arguments)
    for word in words:
        if word == "-c":  # what follows is for words of its own
            return None
        if word == "-m":
            return _among(_SCRIPTS, next(words, "").lower(), [*words])
        if word in _OPTIONS_WITH_VALUES:
            next(words, None)
        elif not word.startswith("-"):
            return _among(_SCRIPTS, file_name(word).removesuffix(".py"), [*words])
    return None


def _among(known: dict[str, dict[str, Role] | Role], name: str, arguments: Sequence[str]) -> Role | None:
    found = known.get(name)
    if isinstance(found, dict):
        command = next((word for word in arguments if not word.startswith("-")), "")
        return found.get(command)
    return found
