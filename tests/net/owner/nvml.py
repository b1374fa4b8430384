"""The library `pynvml` for GPUs of a test. A value that is an error is raised, as the library does."""

from types import SimpleNamespace
from typing import Any

import pynvml

NOT_SUPPORTED = pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
NOT_FOUND = pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)


class Library:
    """Each GPU is a dictionary of what it says."""

    NVMLError = pynvml.NVMLError
    NVML_ERROR_LIBRARY_NOT_FOUND = pynvml.NVML_ERROR_LIBRARY_NOT_FOUND
    NVML_ERROR_DRIVER_NOT_LOADED = pynvml.NVML_ERROR_DRIVER_NOT_LOADED
    NVML_ERROR_NOT_SUPPORTED = pynvml.NVML_ERROR_NOT_SUPPORTED
    NVML_ERROR_FUNCTION_NOT_FOUND = pynvml.NVML_ERROR_FUNCTION_NOT_FOUND

    def __init__(self, *gpus: dict[str, Any]) -> None:
        self.gpus = gpus
        self.asked_since: list[int] = []

    def nvmlInit(self) -> None:  # noqa: N802 - the library's names
        pass

    def nvmlShutdown(self) -> None:  # noqa: N802
        pass

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> dict[str, Any]:  # noqa: N802
        return self.gpus[index]

    def nvmlDeviceGetUtilizationRates(self, gpu: dict[str, Any]) -> Any:  # noqa: N802
        return SimpleNamespace(gpu=self._say(gpu["busy"]), memory=0)

    def nvmlDeviceGetComputeRunningProcesses_v3(self, gpu: dict[str, Any]) -> Any:  # noqa: N802
        return [SimpleNamespace(pid=pid, usedGpuMemory=None) for pid in self._say(gpu["computing"])]

    def nvmlDeviceGetGraphicsRunningProcesses_v3(self, gpu: dict[str, Any]) -> Any:  # noqa: N802
        return [SimpleNamespace(pid=pid, usedGpuMemory=None) for pid in self._say(gpu["drawing"])]

    def nvmlDeviceGetProcessUtilization(self, gpu: dict[str, Any], since: int) -> Any:  # noqa: N802
        self.asked_since.append(since)
        samples = self._say(gpu["samples"])
        return [SimpleNamespace(pid=pid, smUtil=share, timeStamp=time) for pid, share, time in samples]

    def nvmlDeviceGetCurrentClocksEventReasons(self, gpu: dict[str, Any]) -> Any:  # noqa: N802
        return self._say(gpu["reasons"])

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, gpu: dict[str, Any]) -> Any:  # noqa: N802
        return self._say(gpu.get("old reasons", NOT_SUPPORTED))

    @staticmethod
    def _say(value: Any) -> Any:
        if isinstance(value, Exception):
            raise value
        return value
