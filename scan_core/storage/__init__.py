"""Files: written whole, and read without running anything in them."""
