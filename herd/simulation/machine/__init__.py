"""What a machine is: its figures, the models on it, and who owns it."""
