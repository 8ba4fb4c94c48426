"""A page to try the model on one's own pictures: `python -m scan_core.apps.page`."""
