"""The dashboard of an agent, and the commands that talk to the one on this machine."""
