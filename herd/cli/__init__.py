"""The commands: options, terminals, exit codes."""
