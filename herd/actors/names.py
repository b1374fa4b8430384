"""Under which names actors find one another; each router, and each agent, has a namespace of its own."""

from herd.types import BackendId, NodeId, RouterId

STORE = "store"
FLEET = "fleet"
LATENCY_LEARNER = "latency-learner"
CAPACITY_LEARNER = "capacity-learner"
SCORER = "scorer"
REBALANCER = "rebalancer"
HOLDING_PEN = "holding-pen"
PRE_WARMER = "pre-warmer"
TRACES = "traces"
FEED = "feed"
GATEWAY = "gateway"
DISCOVERY = "discovery"
DASHBOARD = "dashboard"  # of the agent, too

AGENT = "agent"
ROUTER_LINK = "router-link"
COLLECTOR = "collector"
OWNER_WATCH = "owner-watch"


def router(router_id: RouterId | str) -> str:
    """The namespace of a router's actors."""
    return f"router-{router_id}"


def node(node_id: NodeId) -> str:
    """The Node actor of a node."""
    return f"node:{node_id}"


def node_proxy(node_id: NodeId) -> str:
    """The NodeProxy of a node."""
    return f"node-proxy:{node_id}"


def model_queue(node_id: NodeId, model: str) -> str:
    """The ModelQueue of a model (by canonical name) on a node."""
    return f"queue:{node_id}/{model}"


def backend(backend_id: BackendId) -> str:
    """The Backend actor of a model server, in the agent."""
    return f"backend:{backend_id}"
