"""What the owner does with the machine, and how it bears that: sensors, each of which may say that it does not know.

meetings.py            whether a camera and a microphone are in use, on every system: start here
  meeting.py           what can be known of that, and how a sensor is asked
  meetings_linux.py    which of Linux's sensors is believed
    devices_linux.py   what the kernel shows: capture devices of ALSA, cameras that programs hold open
    sound_servers.py   what PulseAudio and PipeWire say
  meetings_macos.py    what to make of what macOS says
    devices_macos.py   asks CoreAudio and CoreMediaIO, in a process of its own
  meetings_windows.py  which programs Windows has noted as using them
"""
