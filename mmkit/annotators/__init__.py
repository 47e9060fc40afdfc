"""Station 2: annotators add what a model needs and the dataset does not contain."""
