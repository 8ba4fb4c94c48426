"""Exported models, run by onnxruntime, NumPy and Pillow: nothing here imports PyTorch."""
