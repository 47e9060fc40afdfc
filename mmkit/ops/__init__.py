"""What several stations need: losses, exact arithmetic, rows of all processes."""
