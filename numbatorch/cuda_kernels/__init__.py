"""The @cuda.jit kernels of each operator family, under the names and argument order of ops/cpu."""
