"""Names for the ids, units and small enumerations that every layer uses.

Units are types: a `Seconds` is a float of seconds, a `Bytes` an int of bytes, a `Tokens` an int of tokens.
"""

from enum import StrEnum
from typing import NewType

NodeId = NewType("NodeId", str)  # stable for the life of an agent's data directory
NodeName = NewType("NodeName", str)  # for people: the host name, made unique by the router
RouterId = NewType("RouterId", str)
BackendId = NewType("BackendId", str)  # one model server beside one agent: "ollama-11434"
ModelName = NewType("ModelName", str)  # as a backend lists it, tag included where it has one
RequestId = NewType("RequestId", str)
TicketId = NewType("TicketId", str)  # a request's place in the fleet: one per request, kept over moves and retries
StreamId = NewType("StreamId", int)  # one exchange over one link
LinkId = NewType("LinkId", int)  # one TCP connection of an agent, counted by the router since its start

Seconds = NewType("Seconds", float)
Bytes = NewType("Bytes", int)
Tokens = NewType("Tokens", int)

KiB = 1024
MiB = 1024 * KiB
GiB = 1024 * MiB


class Dialect(StrEnum):
    """Whose words a client speaks; errors are answered in the same."""

    OLLAMA = "ollama"
    OPENAI = "openai"
    ANTHROPIC = "anthropic"


class Api(StrEnum):
    """What can be asked of a model; each is the path that clients ask at."""

    OLLAMA_CHAT = "/api/chat"
    OLLAMA_GENERATE = "/api/generate"
    OLLAMA_EMBED = "/api/embed"
    OLLAMA_EMBEDDINGS = "/api/embeddings"
    CHAT = "/v1/chat/completions"
    COMPLETIONS = "/v1/completions"
    EMBEDDINGS = "/v1/embeddings"
    RESPONSES = "/v1/responses"
    MESSAGES = "/v1/messages"
    COUNT_TOKENS = "/v1/messages/count_tokens"
    GENERATE_IMAGE = "/api/generate-image"  # Herd's own, as is the next but two
    IMAGES = "/v1/images/generations"
    IMAGE_EDITS = "/v1/images/edits"
    TRANSCRIBE = "/api/transcribe"
    TRANSCRIPTIONS = "/v1/audio/transcriptions"

    @property
    def dialect(self) -> Dialect:
        """Whose words it is in."""
        if self.startswith("/api/"):
            return Dialect.OLLAMA
        return Dialect.ANTHROPIC if self.startswith(Api.MESSAGES) else Dialect.OPENAI

    @property
    def unit(self) -> "Unit":
        """What the work that it asks for is counted in."""
        return _UNITS.get(self, Unit.TOKEN)


class Unit(StrEnum):
    """What a model's work is counted in; of whatever kind it is, a model has a rate of so many a second."""

    TOKEN = "token"  # noqa: S105 - no secret
    PIXEL_STEP = "kilopixel-step"  # a thousand pixels, each gone over once
    AUDIO_FRAME = "audio-frame"  # 10 ms of sound: the step in which Whisper and its kin look at it


_UNITS = {
    Api.GENERATE_IMAGE: Unit.PIXEL_STEP,
    Api.IMAGES: Unit.PIXEL_STEP,
    Api.IMAGE_EDITS: Unit.PIXEL_STEP,
    Api.TRANSCRIBE: Unit.AUDIO_FRAME,
    Api.TRANSCRIPTIONS: Unit.AUDIO_FRAME,
}


class BackendKind(StrEnum):
    """Which program serves the models on a node."""

    OLLAMA = "ollama"
    LLAMACPP = "llamacpp"
    LMSTUDIO = "lmstudio"
    VLLM = "vllm"
    MFLUX = "mflux"  # images, by a command-line tool that the agent runs
    QWEN_ASR = "mlx-qwen3-asr"  # speech, by a server that the agent runs while it is needed, or that runs already
    WHISPERCPP = "whispercpp"  # speech, by whisper.cpp's server
    OPENAI = "openai"  # anything else that has one of OpenAI's endpoints


class Capability(StrEnum):
    """What a request needs of a model. The words are those of Ollama's `/api/show`, where it has one."""

    COMPLETION = "completion"
    TOOLS = "tools"
    INSERT = "insert"
    VISION = "vision"
    EMBEDDING = "embedding"
    THINKING = "thinking"
    IMAGE = "image"
    AUDIO = "audio"


class NodeState(StrEnum):
    """How a node stands with the router, worst last but for `joining`."""

    JOINING = "joining"
    READY = "ready"
    DEGRADED = "degraded"
    PAUSED = "paused"
    DRAINING = "draining"
    OFFLINE = "offline"


class Thermal(StrEnum):
    """How hot a machine is, as far as that bears on its speed."""

    NOMINAL = "nominal"
    THROTTLED = "throttled"  # it runs slower than it could
    CRITICAL = "critical"  # it is about to protect itself


class Pressure(StrEnum):
    """How short of memory a machine is, by its system's own word or measure."""

    NORMAL = "normal"
    WARNING = "warning"
    CRITICAL = "critical"  # programs are stalled by it, or about to be ended


class Workload(StrEnum):
    """What the owner does with a machine, from its sensors alone."""

    IDLE = "idle"
    LIGHT = "light"
    MODERATE = "moderate"
    HEAVY = "heavy"


class Priority(StrEnum):
    """The class of a request in a queue."""

    INTERACTIVE = "interactive"
    BATCH = "batch"


class ScorerKind(StrEnum):
    """What nodes are ranked by."""

    SEVEN_SIGNALS = "seven-signals"  # points
    COMPLETION_TIME = "completion-time"  # predicted seconds


class Outcome(StrEnum):
    """How a ticket ends; each ends in exactly one."""

    SERVED = "served"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REJECTED = "rejected"
