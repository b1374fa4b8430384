"""What the owner does with the machine, and how it bears that: sensors, each of which may say that it does not know.

sensors.py             all of them, asked side by side: start here
  watched.py           how a sensor that may hang is asked
  processes.py         what of the load of processors and memory is the owner's
    model_servers.py   which processes are model servers, or Herd, by the words they were started with
    listeners.py       which are, by the ports they listen at
  gpus.py              what of the load of the GPUs is the owner's
  network.py           what passes through the network's interfaces
  heat.py              whether the machine slows down for heat
  pressure.py          whether programs wait for memory
meetings.py            whether a camera and a microphone are in use, on every system
  meeting.py           what can be known of that, and how a sensor is asked
  meetings_linux.py    which of Linux's sensors is believed
    devices_linux.py   what the kernel shows: capture devices of ALSA, cameras that programs hold open
    sound_servers.py   what PulseAudio and PipeWire say
  meetings_macos.py    what to make of what macOS says
    devices_macos.py   asks CoreAudio and CoreMediaIO, in a process of its own
  meetings_windows.py  which programs Windows has noted as using them
"""
