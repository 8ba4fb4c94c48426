"""What a GPU does with this project, and whether it is right: `python -m benchmarks.gpu`."""
