"""Files: written whole, locked, and read without running anything in them."""
