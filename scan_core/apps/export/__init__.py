"""Models written as ONNX graphs, for `scan_core.apps.exported` and other programs."""
