"""One request that is translated, and its answer: what a relay needs of this package."""

from dataclasses import dataclass
from typing import Any

from herd.errors import RequestError, StreamFailed
from herd.protocols.answers import Reply, error_answer
from herd.protocols.translation import refusals
from herd.protocols.translation.answers import AnswerStream, Broke, Ending, count, parsed, whole_answer
from herd.protocols.translation.asking import Wanted, read_asking
from herd.protocols.translation.errands import Errand, errand
from herd.protocols.translation.speaking import Now, OllamaVoice, embeddings
from herd.types import Api, BackendKind, Dialect, MiB

# A document is translated whole. The longest are lists of vectors: 1,000 of 4,096 numbers are some 60 MiB of text.
MAX_ANSWER = 64 * MiB

_JSON = "application/json; charset=utf-8"
_NDJSON = "application/x-ndjson"
_SSE = "text/event-stream"
_OK = 200
_FAILED = 500  # Ollama's status for a model that breaks before it has said anything


def standin(api: Api, kind: BackendKind, body: bytes) -> "StandIn":
    """Translate a request for a server that does not have `api` itself.

    Raises:
        RequestError: it cannot be, or Ollama would refuse it too.
    """
    return StandIn(read_asking(api, kind, body), kind)


@dataclass(frozen=True, slots=True)
class StandIn:
    """A translated request. `wanted.body` goes by POST to `wanted.path`; where it is None, `errand` is all."""

    wanted: Wanted
    kind: BackendKind

    @property
    def loads(self) -> bool:
        """The request has no prompt: it is for loading the model, or for letting it go."""
        return self.wanted.body is None and self.wanted.path is not Api.EMBEDDINGS

    def errand(self, *, resident: bool) -> Errand | None:
        """What is asked of a server before a request that `loads` is `answered`; `resident`: it has the model loaded."""
        if not self.loads:
            return None
        return errand(self.kind, self.wanted.model, unload=self.wanted.unload, resident=resident)

    def failed_errand(self, status: int, body: bytes, done: Errand) -> Reply | None:
        """The answer when the server does not do it; None when it did."""
        if status in done.fine:
            return None
        if status == _OK and refusals.sentence(body):
            # LM Studio answers so for what it does not know.
            status = refusals.NOT_IMPLEMENTED
        return None if status == _OK else self.refused(status, body)

    def answered(self, now: Now) -> Reply:
        """The answer to a request that asks the model for nothing: it loads or unloads, or has no input."""
        if self.wanted.path is Api.EMBEDDINGS:
            body = embeddings(self.wanted, [], 0, now)
        else:
            body = OllamaVoice(self.wanted).nothing(now)
        return _document(200, body)

    def refused(self, status: int, body: bytes) -> Reply:
        """The answer to a request that the server refused with `status` and (the beginning of) `body`."""
        status, text = refusals.refused(self.wanted.api, self.wanted.model, status, body)
        return error_answer(Dialect.OLLAMA, RequestError(text, status=status))

    def unknown(self) -> Reply:
        """The answer when the server does not have the model."""
        text = refusals.unknown(self.wanted.api, self.wanted.model)
        return error_answer(Dialect.OLLAMA, RequestError(text, status=refusals.NOT_FOUND))

    def reader(self, content_type: str) -> "StreamReader | DocumentReader":
        """What reads an answer of status 200. Raises StreamFailed: it is not of the kind that was asked for."""
        kind = content_type.partition(";")[0].strip().lower()
        if (kind == _SSE) is not self.wanted.streamed:
            asked = "a stream of events" if self.wanted.streamed else "one document"
            raise StreamFailed(f"the model server was asked for {asked}, and sent {kind or 'something else'}")
        return StreamReader(self.wanted) if self.wanted.streamed else DocumentReader(self.wanted)


class StreamReader:
    """Server-sent events in, lines of JSON out."""

    content_type = _NDJSON

    def __init__(self, wanted: Wanted) -> None:
        self._stream = AnswerStream()
        self._voice = OllamaVoice(wanted)
        self._begun = False

    def feed(self, data: bytes, now: Now) -> bytes:
        """The lines that come with `data`; may be none.

        Raises:
            StreamFailed: the answer cannot be read any further.
            RequestError: the server failed before it said anything.
        """
        lines: list[bytes] = []
        for item in self._stream.feed(data):
            if isinstance(item, Broke):
                if not (lines or self._begun):
                    raise RequestError(item.text, status=_FAILED)
                lines.append(self._voice.broke(item.text))
            elif isinstance(item, Ending):
                lines.append(self._voice.last_line(item, now))
            else:
                lines.append(self._voice.line(item, now))
        self._begun |= bool(lines)
        return b"".join(lines)

    def end(self, _now: Now) -> bytes:
        """The server has sent all. Raises StreamFailed: it was not all of the answer."""
        self._stream.end()
        return b""


class DocumentReader:
    """One document in, one out."""

    content_type = _JSON

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._body = bytearray()

    def feed(self, data: bytes, _now: Now) -> bytes:
        """Nothing yet. Raises StreamFailed when the document is too long."""
        self._body += data
        if len(self._body) > MAX_ANSWER:
            raise StreamFailed(f"the model server's answer is longer than {MAX_ANSWER // MiB} MiB")
        return b""

    def end(self, now: Now) -> bytes:
        """The whole answer.

        Raises:
            StreamFailed: what came is none.
            RequestError: it says that the server failed.
        """
        if self._wanted.path is Api.EMBEDDINGS:
            return self._vectors(now)
        read = whole_answer(bytes(self._body))
        if isinstance(read, Broke):
            raise RequestError(read.text, status=_FAILED)
        return OllamaVoice(self._wanted).whole(*read, now)

    def _vectors(self, now: Now) -> bytes:
        value = parsed(bytes(self._body))
        if (trouble := refusals.refusal_text(value)) is not None:
            raise RequestError(trouble, status=_FAILED)
        data = value.get("data")
        items = [_vector(item) for item in data] if isinstance(data, list) else []
        if not items:
            raise StreamFailed("the model server's answer has no vectors")
        usage = value.get("usage")
        prompt = count(usage, "prompt_tokens") if isinstance(usage, dict) else 0
        vectors = [vector for _, vector in sorted(items, key=lambda item: item[0])]
        return embeddings(self._wanted, vectors, prompt, now)


def _vector(item: Any) -> tuple[int, list[float]]:
    if isinstance(item, dict):
        index, vector = item.get("index"), item.get("embedding")
        if type(index) is int and isinstance(vector, list) and all(type(one) in {int, float} for one in vector):
            return index, vector
    raise StreamFailed("the model server's answer has something else where its vectors should be")


def _document(status: int, body: bytes) -> Reply:
    return Reply(status, (("Content-Type", _JSON), ("Content-Length", str(len(body)))), body)
