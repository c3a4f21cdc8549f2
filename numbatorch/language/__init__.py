"""The language of kernels: pointers, words and `@kernel`, importable without Numba."""
