"""Trained models at work: devices, features, prediction, evaluation."""
