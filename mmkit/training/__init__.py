"""Training: batches, optimizer, checkpoints and the loop."""
