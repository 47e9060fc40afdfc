"""Station 3: encoders turn text and pictures into features."""
