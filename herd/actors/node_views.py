"""From what an agent reports to what routing sees of it."""

from collections.abc import Mapping
from types import MappingProxyType

from herd.names import canonical
from herd.policy.catalog import preferred
from herd.policy.hardware import bandwidth
from herd.policy.values import Hardware, Memory, MemoryKind, ModelView
from herd.protocols.apis import implied, of_model
from herd.protocols.messages import BackendInfo, Gpu, Machine, ModelInfo, Report
from herd.types import Api, BackendKind, Bytes, Capability, MiB, Thermal, Tokens, Unit, Workload

# Free memory changes with every breath of a machine. In steps of this size, rounded down, a node that idles looks the
# same from report to report; no model is small enough to miss it.
MEMORY_STEP = 128 * MiB


# What a model has to be able to do for each of the endpoints that are for nothing else.
_ABILITIES = {
    api: Capability.IMAGE if api.unit is Unit.PIXEL_STEP else Capability.AUDIO
    for api in Api
    if api.unit is not Unit.TOKEN
}


def models_of(report: Report, learned: Mapping[str, int] = MappingProxyType({})) -> dict[str, ModelView]:
    """The models of a report as routing sees them, by canonical name; each on the server that shall serve it.

    Args:
        report: the node's latest.
        learned: limits of models whose server declares none, by canonical name.
    """
    backends = {backend.id: backend for backend in report.backends}
    video = any(not gpu.unified for gpu in report.gpus)
    models: dict[str, ModelView] = {}
    for info in report.models:
        backend = backends.get(info.backend)
        if backend is None:
            continue
        key = canonical(info.name)
        view = _model_view(info, backend, backend.parallel or learned.get(key, 1), video=video)
        models[key] = preferred(models[key], view) if key in models else view
    return models


def _model_view(info: ModelInfo, backend: BackendInfo, limit: int, *, video: bool) -> ModelView:
    return ModelView(
        name=info.name,
        backend=info.backend,
        dialects=backend.dialects,
        apis=of_model(backend.kind, backend.apis or implied(backend.dialects), info.capabilities),
        size=info.size,
        digest=info.digest,
        resident=info.resident,
        context=info.context_length,
        capabilities=info.capabilities,
        limit=limit,
        slots=max(1, backend.slots),
        size_resident=(info.size_vram if video else Bytes(0)) or info.size_resident,
        kv_per_token=info.kv_per_token,
        context_max=info.context_max,
        active_share=info.active_share,
        kind=backend.kind,
    )


def media_of(report: Report) -> tuple[Api, ...]:
    """The endpoints for images and speech that the node has anything for.

    What makes images or hears is there for that, whatever models it has now. Ollama has the endpoints in any case: with
    it a model counts that says of itself that it can.
    """
    can = {(info.backend, word) for info in report.models for word in info.capabilities}
    return tuple(
        api
        for api, ability in _ABILITIES.items()
        if any(
            api in backend.apis and (backend.kind != BackendKind.OLLAMA or (backend.id, ability) in can)
            for backend in report.backends
        )
    )


def context_of(report: Report) -> Tokens:
    """The context that the node's servers load models with when a request names none; 0 when none of them says."""
    return next((backend.context_length for backend in report.backends if backend.context_length), Tokens(0))


def memory_of(report: Report) -> Memory:
    """The memory that the node's models run in.

    Video memory where there are GPUs with their own, all of them together, for a model that no card could hold is
    spread over several; else what the GPU shares with the machine; else RAM. What resident models take is never free,
    whatever was measured just before one was loaded.
    """
    cards, shared = _cards(report), _shared(report)
    if cards:
        total, free = sum(gpu.memory_total for gpu in cards), sum(gpu.memory_free for gpu in cards)
    elif shared:
        total, free = shared[0].memory_total, shared[0].memory_free
    else:
        total, free = report.memory_total, report.memory_free
    taken = sum((model.size_vram if cards else 0) or model.size_resident for model in report.models if model.resident)
    return Memory(
        Bytes(total),
        _stepped(max(0, min(free, total - taken))),
        report.memory_total,
        _stepped(report.memory_free) if cards else Bytes(0),
    )


def hardware_of(machine: Machine, report: Report) -> Hardware:
    """What bounds the node's speed."""
    cards, shared = _cards(report), _shared(report)
    throttled = report.thermal in {Thermal.THROTTLED, Thermal.CRITICAL}
    if cards:
        return Hardware(MemoryKind.VIDEO, min(_speed(gpu, MemoryKind.VIDEO) for gpu in cards), throttled)
    if shared:
        return Hardware(MemoryKind.UNIFIED, _speed(shared[0], MemoryKind.UNIFIED), throttled)
    return Hardware(MemoryKind.RAM, bandwidth(machine.cpu, MemoryKind.RAM), throttled)


def workload_of(report: Report) -> Workload | None:
    """What the node's owner does with it; who says nothing of it, or a word that is none, counts as idle."""
    if report.dedicated:
        return None
    return next((workload for workload in Workload if workload == report.workload), Workload.IDLE)


def _cards(report: Report) -> list[Gpu]:
    return [gpu for gpu in report.gpus if not gpu.unified]


def _shared(report: Report) -> list[Gpu]:
    return [gpu for gpu in report.gpus if gpu.unified]


def _speed(gpu: Gpu, kind: MemoryKind) -> float:
    """As measured, else by its name."""
    return gpu.bandwidth or bandwidth(gpu.name, kind)


def _stepped(size: int) -> Bytes:
    return Bytes(size // MEMORY_STEP * MEMORY_STEP)
