"""What clients ask of a fake Ollama: every endpoint's body, read, checked and refused as the real one does."""
