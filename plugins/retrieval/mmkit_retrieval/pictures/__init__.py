"""The image index: images, searched by their CLIP vectors."""
