"""What `herd doctor` looks at on the machine that it runs on: the agent, its model servers, memory, files and ports."""

import asyncio
import os
import platform
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from herd import config
from herd.actors.introduction import introduction
from herd.cli.doctor.diagnosis import AgentFacts, FileTrouble, ServerFacts
from herd.cli.options import config_file
from herd.config import HTTP_PORT, LINK_PORT, OLLAMA_PORT, NodeSettings, RouterSettings, Settings
from herd.errors import ConfigError, HerdError, StreamFailed
from herd.net.accelerators import gpus_of_this_machine
from herd.net.agent_files import agent_status
from herd.net.clock import SystemClock
from herd.net.http_client import AiohttpServers
from herd.net.identity import Role, flaw_of_identity, is_held
from herd.net.known_routers import KNOWN_ROUTERS, KnownRouters
from herd.net.machine import PsutilProbe
from herd.net.probing import Listener, listeners
from herd.net.sensing import Aside, SensorFailed
from herd.net.server_processes import PsutilServerProcesses
from herd.net.tools.hugging_face import weights_on_disk
from herd.net.tools.mflux import MFLUX
from herd.net.tools.mflux_weights import on_disk
from herd.net.tools.probe import find_tools
from herd.protocols import image_servers, speech_servers
from herd.protocols.openai_servers import read_openai_models
from herd.protocols.servers import read_ollama_tags, recognise
from herd.types import BackendId, BackendKind, Seconds

# A model server on this machine answers within milliseconds, unless it is about to load a model.
SERVER_S = Seconds(4.0)
# A graphics driver that sleeps takes three to wake.
SENSOR_S = Seconds(5.0)
MAX_SERVERS = 16  # of one agent

_CONTEXT = "OLLAMA_CONTEXT_LENGTH"
_TOOL = "://local"  # what the URLs of tools end with, which the agent runs itself
_PROGRAMS = {
    BackendKind.OLLAMA: "Ollama",
    BackendKind.LLAMACPP: "llama.cpp",
    BackendKind.LMSTUDIO: "LM Studio",
    BackendKind.VLLM: "vLLM",
    BackendKind.MFLUX: "mflux",
    BackendKind.QWEN_ASR: "mlx-qwen3-asr",
    BackendKind.WHISPERCPP: "whisper.cpp",
    BackendKind.OPENAI: "a server with OpenAI's API",
}


def settings_of_agent(data_dir: Path | None) -> tuple[NodeSettings, str]:
    """The settings with which an agent would run here, as far as they can be seen, and what is wrong with them."""
    flags = {"data_dir": data_dir}
    try:
        return config.load(NodeSettings, flags, os.environ, config_file(NodeSettings, None, data_dir)), ""
    except ConfigError as error:
        fallback = NodeSettings() if data_dir is None else NodeSettings(data_dir=data_dir)
        return fallback, str(error)


def agent_of(data_dir: Path, flaw: str, *, token: bool) -> AgentFacts:
    """The agent of a data directory. `flaw`: of its settings; `token`: they hold a join token."""
    facts = AgentFacts(str(data_dir), token=token, trouble=flaw)
    try:
        facts = replace(facts, running=is_held(data_dir))  # raises where the directory cannot be read
        facts = replace(facts, used=(data_dir / "identity.json").exists())
        if facts.running:
            facts = replace(facts, shown=agent_status(data_dir))
    except HerdError as error:
        facts = replace(facts, trouble=flaw or str(error))
    return facts


async def servers_here(servers: AiohttpServers, settings: NodeSettings, agent: AgentFacts) -> tuple[ServerFacts, ...]:
    """The model servers that the agent uses, by its own word, or that one with these settings would use."""
    shown = (agent.shown or {}).get("servers")
    used = [each.get("url") for each in shown if isinstance(each, dict)] if isinstance(shown, list) else []
    used = [url for url in used if not str(url).endswith(_TOOL)]
    try:
        urls = [config.backend_url(str(url)) for url in (used or settings.backend_url)[:MAX_SERVERS]]
        if not urls and not settings.embedded:
            urls = [config.ollama_url(os.environ)]
    except ConfigError as error:
        return (ServerFacts("", trouble=str(error)),)
    asking = [_server(servers, url) for url in dict.fromkeys(urls)]
    tools = await asyncio.to_thread(tools_here, os.environ, platform.system(), platform.machine())
    return (*await asyncio.gather(*asking), *tools)


def tools_here(environ: Mapping[str, str], system: str, machine: str) -> tuple[ServerFacts, ...]:
    """The tools that an agent would run itself, with their models; none is started. Reads the disk."""
    found, facts = find_tools(environ, system, machine), list[ServerFacts]()
    if found.mflux is not None:
        drawing = tuple((each.weights.name, int(each.size)) for each in on_disk(environ))
        facts.append(ServerFacts(MFLUX, kind=_PROGRAMS[BackendKind.MFLUX], models=drawing))
    if found.qwen_asr is not None:
        sizes = {name: weights_on_disk(repository, environ) for repository, name in speech_servers.QWEN_ASR.items()}
        hearing = tuple((name, int(size)) for name, size in sizes.items() if size is not None)
        kind = _PROGRAMS[BackendKind.QWEN_ASR]
        facts.append(ServerFacts(speech_servers.QWEN_ASR_HERE, kind=kind, models=hearing))
    return tuple(facts)


async def _server(servers: AiohttpServers, url: str) -> ServerFacts:
    """What answers there, with its models."""
    facts = ServerFacts(url)
    try:
        answers = await introduction(servers, url, SERVER_S)
        kind = recognise(answers)
        if kind is BackendKind.OLLAMA:
            _, tags = await servers.fetch(f"{url}/api/tags", timeout=SERVER_S)
            models = read_ollama_tags(tags, BackendId(""))
        else:
            usual = (speech_servers.MODELS, read_openai_models)
            path, read = image_servers.lists(answers) or speech_servers.lists(answers) or usual
            models = read(answers.get(path), BackendId(""))
    except StreamFailed as error:
        return replace(facts, trouble=f"no model server answers at {url}: {str(error).rpartition(': ')[2]}")
    except HerdError as error:
        return replace(facts, trouble=f"what answers at {url} cannot be used: {error}")
    version = answers.get("/api/version")
    said = version.get("version") if isinstance(version, dict) and kind is BackendKind.OLLAMA else ""
    return replace(
        facts,
        kind=_PROGRAMS[kind],
        version=said if isinstance(said, str) else "",
        models=tuple((model.name, model.size) for model in models),
        context=await PsutilServerProcesses().variable(url, _CONTEXT) if kind is BackendKind.OLLAMA else None,
    )


async def memory_here() -> int:
    """Bytes that models could have at most: the machine's memory, and that of its cards."""
    clock = SystemClock()
    probe = PsutilProbe(clock)
    total, _ = probe.memory()
    try:
        async with asyncio.timeout(SENSOR_S):
            gpus = await gpus_of_this_machine(probe.memory, clock).sample()
    except TimeoutError:
        gpus = ()
    return total + sum(gpu.memory_total for gpu in gpus if not gpu.unified)


async def listeners_here() -> tuple[Listener, ...]:
    """Who listens on the ports that Herd and Ollama use when they are told no others."""
    try:
        return await Aside("ports", SENSOR_S).run(lambda: listeners((HTTP_PORT, LINK_PORT, OLLAMA_PORT)))
    except SensorFailed:
        return ()


# --- files ------------------------------------------------------------------------------------------------------------


def files_of(agent_dir: Path) -> tuple[FileTrouble, ...]:
    """What is wrong with the files of the agent and of the router here, if there are any."""
    router_dir = Path(os.environ.get("HERD_DATA_DIR") or config.default_data_dir(RouterSettings)).expanduser()
    return (*_of_directory(agent_dir, "agent"), *_of_directory(router_dir, "router"))


def _of_directory(directory: Path, role: Role) -> Iterator[FileTrouble]:
    try:
        found = directory.stat()
    except FileNotFoundError:
        return  # it is made when it is needed
    except OSError as error:
        yield FileTrouble(True, f"{directory} cannot be looked at: {error.strerror or error}", _owner_of(None))
        return
    if not stat.S_ISDIR(found.st_mode):
        yield FileTrouble(True, f"{directory} is no directory", "move it away, or name another with --data-dir")
        return
    if not os.access(directory, os.W_OK | os.X_OK):
        yield FileTrouble(True, f"{directory} cannot be written by this user", _owner_of(found.st_uid))
        return
    if flaw := flaw_of_identity(directory, role):
        yield FileTrouble(True, flaw, "")
    if role == "agent":
        try:
            KnownRouters(directory / KNOWN_ROUTERS)
        except ConfigError as error:
            yield FileTrouble(True, str(error), "")
        yield from _of_settings(directory / "herd.toml", NodeSettings)
    else:
        yield from _of_settings(directory / "herd.toml", RouterSettings)


def _of_settings(file: Path, role: type[Settings]) -> Iterator[FileTrouble]:
    if not file.is_file():
        return
    try:
        settings = config.load(role, {}, {}, file)
    except ConfigError as error:
        yield FileTrouble(True, str(error), "correct the file: herd does not start with it")
        return
    secrets = [name for name, item in config.settings_of(role).items() if item.metadata["secret"]]
    holding = [file] if any(_is_secret(name, getattr(settings, name)) for name in secrets) else []
    if tls_key := getattr(settings, "tls_key", ""):  # a router's
        holding.append(Path(tls_key).expanduser())
    for each in holding:
        if each.is_file() and _others_read(each):
            what = f"{each} holds secrets, and others on this machine can read it"
            yield FileTrouble(False, what, f"chmod 600 {each}")


def _is_secret(name: str, value: Any) -> bool:
    """Whether a setting that may hold a secret does: few model servers want a key."""
    return any(config.without_key(url) != url for url in value) if name == "backend_url" else bool(value)


def _others_read(file: Path) -> bool:
    """Whether other users of this machine may read it; Windows has no such bits."""
    return sys.platform != "win32" and bool(file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))


def _owner_of(uid: int | None) -> str:
    if sys.platform != "win32" and uid is not None and uid != os.geteuid():
        return "it is another user's: run herd doctor as the user who runs herd-node or herd"
    return "give it to the user who runs herd-node or herd (chown), and let that user write (chmod u+rwx)"
