"""Whether the owner is in a meeting: a camera or a microphone of this machine is in use."""

import platform

from herd.net.owner.meeting import Meeting, MeetingProbe
from herd.net.owner.meetings_linux import linux_meetings
from herd.net.owner.meetings_macos import mac_meetings
from herd.net.owner.meetings_windows import windows_meetings

__all__ = ["Meeting", "MeetingProbe", "meeting_probe"]


class NoMeetings:
    """Implements `MeetingProbe` where there are no sensors for it."""

    async def sample(self) -> Meeting:
        """Unknown."""
        return Meeting()


def meeting_probe(system: str = "") -> MeetingProbe:
    """The sensors of this machine.

    Args:
        system: as `platform.system` names it, which is asked where it is empty.
    """
    match system or platform.system():
        case "Linux":
            return linux_meetings()
        case "Darwin":
            return mac_meetings()
        case "Windows":
            return windows_meetings()
    return NoMeetings()
