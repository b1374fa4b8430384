"""A machine whose figures are round, so that every sum is a short one."""

from herd.simulation.machine.catalog import GB
from herd.simulation.machine.pace import MachineProfile
from herd.types import Bytes, GiB

# One read of the weights of a model of 5 GB takes 0.1 s, a prompt goes twenty times as fast, a load takes 3 s.
MACHINE = MachineProfile(
    name="round",
    chip="of round figures",
    memory=Bytes(64 * GiB),
    model_memory=Bytes(48 * GiB),
    gpu=True,
    bandwidth=100 * GB,
    decode_efficiency=0.5,
    prefill_batch=20.0,
    disk_rate=2 * GB,
)
