"""Files of pretrained networks: what they are, whether they are whole, and how they are loaded without running code."""
