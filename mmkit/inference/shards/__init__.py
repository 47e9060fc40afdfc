"""Predicting many files with several processes: each file of input becomes one file of output."""
