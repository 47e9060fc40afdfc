"""What a run did: worst errors, comparisons of runs, and a report in one HTML file."""
