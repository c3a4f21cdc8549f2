"""Ours against each installed peer, in one interleaved run: `python -m benchmarks --help`."""
