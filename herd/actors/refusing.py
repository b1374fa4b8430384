"""From why no node can serve a request to what its client is told."""

from herd.errors import RequestError
from herd.policy.elimination import lacking
from herd.policy.values import Reason
from herd.protocols.refusals import incapable
from herd.protocols.requests import Routing
from herd.types import Api, Capability


def never(api: Api, routing: Routing, reason: Reason) -> RequestError:
    """What has the model will not serve this request, for a reason that will not pass."""
    for need in (Capability.COMPLETION, *routing.needs):
        if reason == lacking(need):
            return incapable(api, routing.model, need)
    return RequestError(f"no node can do this with {routing.model}: the one that has it {reason.text}")
