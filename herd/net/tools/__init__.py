"""Command-line tools that serve models, run by the agent behind the port of model servers."""
