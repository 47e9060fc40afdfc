"""Using models: devices, features, prediction, evaluation."""
