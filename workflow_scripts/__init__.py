"""One command line for each rule of the workflow, of the rule's name."""

import os

# Read when PyTorch is loaded. Threads that wait for one another then sleep instead of spinning, so
# a machine that has other work to do slows a training by its share and not by a multiple.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
