"""Sans-I/O protocols: bytes to values and values to bytes."""
