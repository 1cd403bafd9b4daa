"""One net, trained once: task, loss, loop, checkpoints."""
