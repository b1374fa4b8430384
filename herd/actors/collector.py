"""The Collector: samples the machine for the agent."""

from herd.actors.ports import MachineProbe
from herd.runtime import ActorHandle, context

SAMPLE_S = 5.0  # a heartbeat carries one sample


class Collector:
    """Owns the sensors of this machine.

    Args:
        probe: the sensors.
        agent: the Agent, told of each sample.
    """

    def __init__(self, probe: MachineProbe, agent: ActorHandle) -> None:
        self._probe = probe
        self._agent = agent

    def on_start(self) -> None:
        """A first sample at once, then one a heartbeat."""
        self._sample()
        context(self).every(SAMPLE_S, self._sample)

    def _sample(self) -> None:
        self._agent.sampled.tell(self._probe.sample())
