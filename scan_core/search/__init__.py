"""Search of test-time settings."""
