"""What an experiment is: the schema of `params.yaml`, its reading, and what follows from it."""
