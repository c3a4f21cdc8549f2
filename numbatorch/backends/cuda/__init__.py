"""Device "cuda": numba-cuda compiles, the CUDA driver runs."""
