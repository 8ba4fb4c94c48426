"""SCAN: open-vocabulary segmentation, from raw data to the tables."""
