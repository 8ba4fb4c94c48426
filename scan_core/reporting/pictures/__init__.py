"""Pictures: images with their labels."""
