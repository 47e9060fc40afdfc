"""Statistics of scores: significance, calibration, and scores of parts of the data. They know counts, not runs."""
