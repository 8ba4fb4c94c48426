"""Runs in MLflow; no other room calls it."""
