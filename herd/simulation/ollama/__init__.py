"""A fake Ollama: its language, its scheduler, and the time that work takes."""
