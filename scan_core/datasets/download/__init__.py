"""Archives: where they are, how they are fetched and unpacked."""
