"""Station 6: metrics turn predictions into scores."""
