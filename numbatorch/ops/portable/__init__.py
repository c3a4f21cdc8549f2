"""Kernels of independent items that run on every kind of device: threads share the items."""
