"""The sensors for what the owner of this machine does with it: implements the port `OwnerProbe`."""
