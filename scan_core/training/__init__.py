"""Training: losses, matching, optimisation."""
