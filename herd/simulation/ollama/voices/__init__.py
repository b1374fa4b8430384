"""How a fake Ollama answers: what it is going to say, and how each API writes that down."""
