"""What every command line shares, and what commands leave behind."""
