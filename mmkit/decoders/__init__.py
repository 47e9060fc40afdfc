"""Station 5: decoders turn states into losses and predictions."""
