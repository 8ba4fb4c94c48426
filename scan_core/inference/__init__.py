"""From an image and class names to a segmentation."""
