"""What is asked of a fleet, when and by whom: generated from a seed, or read from a trace."""
