"""Training a network: tasks, losses, loop, checkpoints."""
