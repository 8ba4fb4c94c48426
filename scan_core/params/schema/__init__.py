"""The schema of `params.yaml`, a file a block."""
