"""Counting the tokens of a request: by a node whose model server does it, else by the guess that routing uses."""

import logging
from collections.abc import Iterable
from dataclasses import replace

from herd.actors.node import NodeStatus
from herd.actors.node_views import models_of
from herd.actors.ports import Sink
from herd.actors.request import Inbound, RouterParts, serve
from herd.policy.elimination import TAKES_REQUESTS
from herd.protocols import herd_api
from herd.protocols.answers import request_ids
from herd.types import Api

logger = logging.getLogger(__name__)


async def count(inbound: Inbound, sink: Sink, parts: RouterParts, nodes: Iterable[NodeStatus]) -> None:
    """Answer how many tokens a request has.

    Of the models that may serve the request, it is counted for the first one that a node has. A node that could count
    but is away, or has all its slots taken, is not waited for: clients ask before they ask anything else.

    Raises:
        RequestError: nobody has the model, or the node that counts failed; no byte of an answer is out yet.
    """
    views = [(node, models_of(node.report)) for node in nodes]
    chain = parts.names.chain(inbound.routing.model, inbound.routing.fallbacks)
    if not any(model in models for model in chain for _, models in views):
        await serve(inbound, sink, parts)  # it knows how to say that there is no such model
        return
    ready = [(node, models) for node, models in views if node.state in TAKES_REQUESTS]
    model = next((model for model in chain if any(model in models for _, models in ready)), chain[0])
    having = [(node, models[model]) for node, models in ready if model in models]
    if any(Api.COUNT_TOKENS in view.apis and _has_room(node, model) for node, view in having):
        await serve(replace(inbound, session=""), sink, parts)  # the conversation goes on where its messages are
        return
    guess = max(1, inbound.routing.prompt_tokens)
    logger.info("request %s: %s is guessed to have %d tokens", inbound.id, model, guess)
    body = herd_api.encode({"input_tokens": guess})
    headers = (
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        *request_ids(inbound.endpoint.dialect, str(inbound.id)),
        ("X-Herd-Estimated", "input_tokens"),
    )
    await sink.start(200, headers)
    await sink.write(body)
    await sink.finish()


def _has_room(node: NodeStatus, model: str) -> bool:
    queue = next((queue for queue in node.queues if queue.model == model), None)
    return queue is None or queue.running < queue.limit
