"""Class names, their ids in the raw labels, and how they relate."""
