"""Training: batches, optimiser, checkpoints and the loop that reads like the sentence."""
