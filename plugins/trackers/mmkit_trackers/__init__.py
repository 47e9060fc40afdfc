"""Trainings in TensorBoard, MLflow, Weights & Biases and Trackio: `[training] trackers` names them."""
