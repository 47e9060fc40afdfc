"""Station 3: encoders turn text and images into features."""
