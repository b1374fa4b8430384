"""One request that is translated, and its answer: what a relay needs of this package."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn, Protocol

from herd.errors import RequestError, StreamFailed
from herd.protocols.answers import Reply, error_answer
from herd.protocols.messages import Headers, Usage
from herd.protocols.refusals import not_found
from herd.protocols.translation import refusals
from herd.protocols.translation.answers import AnswerStream, Broke, Ending, Said, count, parsed, whole_answer
from herd.protocols.translation.asking import read_asking
from herd.protocols.translation.asking_messages import read_count, read_messages
from herd.protocols.translation.asking_responses import read_responses
from herd.protocols.translation.errands import Errand, errand
from herd.protocols.translation.speaking import Now, OllamaVoice, embeddings
from herd.protocols.translation.speaking_messages import MessagesVoice
from herd.protocols.translation.speaking_responses import ResponsesVoice
from herd.protocols.translation.thoughts import ThoughtSplitter
from herd.protocols.translation.wanted import Wanted
from herd.types import Api, BackendKind, Dialect, MiB, Seconds, Tokens

# A document is translated whole. The longest are lists of vectors: 1,000 of 4,096 numbers are some 60 MiB of text.
MAX_ANSWER = 64 * MiB

_JSON = "application/json; charset=utf-8"
_SSE = "text/event-stream"
_OK = 200
_FAILED = 500  # Ollama's status for a model that breaks before it has said anything

_OTHERS: Mapping[Api, Callable[[BackendKind, bytes], Wanted]] = {
    Api.MESSAGES: read_messages,
    Api.COUNT_TOKENS: read_count,
    Api.RESPONSES: read_responses,
}


class Voice(Protocol):
    """One answer in the words of one API."""

    stream_headers: Headers
    whole_type: str

    def line(self, said: Said, now: Now) -> bytes:
        """A piece of a streamed answer, as the events or lines that it takes."""

    def last_line(self, ending: Ending, now: Now) -> bytes:
        """The end of a streamed answer."""

    def whole(self, said: Said, ending: Ending, now: Now) -> bytes:
        """An answer that is one document."""

    def broke(self, text: str) -> bytes:
        """The end of a streamed answer that broke."""


def standin(api: Api, kind: BackendKind, body: bytes, request_id: str = "") -> "StandIn":
    """Translate a request for a server that does not have `api` itself.

    Raises:
        RequestError: it cannot be, or who has the API would refuse it too.
    """
    wanted = _OTHERS[api](kind, body) if api in _OTHERS else read_asking(api, kind, body)
    return StandIn(wanted, kind, request_id)


@dataclass(frozen=True, slots=True)
class StandIn:
    """A translated request. `wanted.body` goes by POST to `wanted.path`; where it is None, `errand` is all."""

    wanted: Wanted
    kind: BackendKind
    request_id: str = ""

    @property
    def loads(self) -> bool:
        """The request has no prompt: it is for loading the model, or for letting it go."""
        return self.wanted.body is None and self.wanted.path != Api.EMBEDDINGS

    def errand(self, *, resident: bool) -> Errand | None:
        """What is asked of a server before a request that `loads` is `answered`; `resident`: the model is loaded."""
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
        if self.wanted.path == Api.EMBEDDINGS:
            body = embeddings(self.wanted, [], 0, now)
        else:
            body = OllamaVoice(self.wanted).nothing(now)
        return Reply(_OK, (("Content-Type", _JSON), ("Content-Length", str(len(body)))), body)

    def refused(self, status: int, body: bytes) -> Reply:
        """The answer to a request that the server refused with `status` and (the beginning of) `body`."""
        status, text = refusals.refused(self.wanted.api, self.wanted.model, status, body)
        return self.error(RequestError(text, status=status))

    def unknown(self) -> Reply:
        """The answer when the server does not have the model."""
        text = not_found(self.wanted.api, self.wanted.model)
        return self.error(RequestError(text, status=refusals.NOT_FOUND))

    def error(self, error: RequestError) -> Reply:
        """The answer that tells of an error, before any byte of another is out."""
        return error_answer(self.wanted.api.dialect, error, request_id=self.request_id)

    def reader(self, content_type: str) -> "StreamReader | DocumentReader":
        """What reads an answer of status 200. Raises StreamFailed: it is not of the kind that was asked for."""
        kind = content_type.partition(";")[0].strip().lower()
        if self.wanted.streamed and kind == "application/json":
            return DocumentReader(_only_an_error, kind)
        if (kind == _SSE) is not self.wanted.streamed:
            asked = "a stream of events" if self.wanted.streamed else "one document"
            raise StreamFailed(f"the model server was asked for {asked}, and sent {kind or 'something else'}")
        chat = self.wanted.path == Api.CHAT
        if self.wanted.streamed:
            return StreamReader(self._voice(), chat=chat)
        if self.wanted.path == Api.EMBEDDINGS:
            return DocumentReader(self._vectors, _JSON)
        if self.wanted.api is Api.COUNT_TOKENS:
            return DocumentReader(_counted, "application/json")
        voice = self._voice()
        return DocumentReader(lambda body, now: _translated(voice, body, now, chat=chat), voice.whole_type)

    def _voice(self) -> Voice:
        if self.wanted.api.dialect is Dialect.OLLAMA:
            return OllamaVoice(self.wanted)
        voice = ResponsesVoice if self.wanted.api is Api.RESPONSES else MessagesVoice
        return voice(self.wanted, self.request_id)

    def _vectors(self, body: bytes, now: Now) -> tuple[bytes, Ending]:
        value = _without_error(parsed(body))
        data = value.get("data")
        items = [_vector(item) for item in data] if isinstance(data, list) else []
        if not items:
            raise StreamFailed("the model server's answer has no vectors")
        usage = value.get("usage")
        prompt = count(usage, "prompt_tokens") if isinstance(usage, dict) else Tokens(0)
        vectors = [vector for _, vector in sorted(items, key=lambda item: item[0])]
        return embeddings(self.wanted, vectors, prompt, now), Ending("stop", prompt=prompt)


class StreamReader:
    """Server-sent events in, lines or events of another API out.

    Args:
        voice: the client's API.
        chat: the answer is that of a chat, in which thoughts are told from the text.
    """

    def __init__(self, voice: Voice, *, chat: bool) -> None:
        self._stream = AnswerStream()
        self._voice = voice
        self._thoughts = ThoughtSplitter() if chat else None
        self._begun = False
        self._ending: Ending | None = None
        self._broke = False
        self.headers: Headers = voice.stream_headers

    def feed(self, data: bytes, now: Now) -> bytes:
        """What comes with `data`; may be nothing.

        Raises:
            StreamFailed: the answer cannot be read any further.
            RequestError: the server failed before it said anything.
        """
        lines: list[bytes] = []
        for item in self._stream.feed(data):
            if isinstance(item, Broke):
                if not (lines or self._begun):
                    raise RequestError(item.text, status=_FAILED)
                self._broke = True
                lines.append(self._voice.broke(item.text))
            elif isinstance(item, Ending):
                self._ending = item
                lines += (self._line(self._held_back(), now), self._voice.last_line(item, now))
            else:
                lines.append(self._line(self._thoughts.split(item) if self._thoughts else item, now))
        out = b"".join(lines)
        self._begun |= bool(out)
        return out

    def end(self, _now: Now) -> bytes:
        """The server has sent all. Raises StreamFailed: it was not all of the answer."""
        self._stream.end()
        return b""

    def usage(self) -> Usage:
        """What the answer took, at its end."""
        return _usage(self._ending, failed=self._broke)

    def _line(self, said: Said, now: Now) -> bytes:
        return self._voice.line(said, now) if said != Said() else b""

    def _held_back(self) -> Said:
        thought, text = self._thoughts.end() if self._thoughts else ("", "")
        return Said(text, thought)


class DocumentReader:
    """One document in, one out.

    Args:
        translate: the whole document, by the clocks at its end; and how the answer ended.
        content_type: of what comes out.
    """

    def __init__(self, translate: Callable[[bytes, Now], tuple[bytes, Ending]], content_type: str) -> None:
        self._translate = translate
        self._body = bytearray()
        self._ending: Ending | None = None
        self.headers: Headers = (("Content-Type", content_type),)

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
        body, self._ending = self._translate(bytes(self._body), now)
        return body

    def usage(self) -> Usage:
        """What the answer took, at its end."""
        return _usage(self._ending, failed=False)


def _usage(ending: Ending | None, *, failed: bool) -> Usage:
    if ending is None:
        return Usage(failed=failed)
    return Usage(
        ending.prompt,
        ending.completion,
        prefill_s=Seconds(ending.prefill_ns / 1e9),
        decode_s=Seconds(ending.decode_ns / 1e9),
        complete=True,
        cached=ending.cached,
    )


def _translated(voice: Voice, body: bytes, now: Now, *, chat: bool) -> tuple[bytes, Ending]:
    read = whole_answer(body)
    if isinstance(read, Broke):
        raise RequestError(read.text, status=_FAILED)
    said, ending = read
    if chat and said.text:
        splitter = ThoughtSplitter()
        begun, (thought, text) = splitter.split(replace(said, calls=())), splitter.end()
        said = replace(said, thought=begun.thought + thought, text=begun.text + text)
    return voice.whole(said, ending, now), ending


def _counted(body: bytes, _now: Now) -> tuple[bytes, Ending]:
    """vLLM's `{"count": ...}` as Anthropic's API has it."""
    number = _without_error(parsed(body)).get("count")
    if type(number) is not int:
        raise StreamFailed("the model server's answer has no count of tokens")
    return b'{"input_tokens":%d}' % number, Ending("stop")


def _only_an_error(body: bytes, _now: Now) -> NoReturn:
    """A document in the place of a stream: some servers refuse so, with status 200."""
    _without_error(parsed(body))
    raise StreamFailed("the model server was asked for a stream of events, and sent one document")


def _without_error(value: dict[str, Any]) -> dict[str, Any]:
    if (trouble := refusals.refusal_text(value)) is not None:
        raise RequestError(trouble, status=_FAILED)
    return value


def _vector(item: Any) -> tuple[int, list[float]]:
    if isinstance(item, dict):
        index, vector = item.get("index"), item.get("embedding")
        # Thousands of numbers, on the loop: one by one it takes five times as long.
        if type(index) is int and isinstance(vector, list) and set(map(type, vector)) <= {int, float}:
            return index, vector
    raise StreamFailed("the model server's answer has something else where its vectors should be")
