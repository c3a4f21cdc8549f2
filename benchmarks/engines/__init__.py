"""One module per engine, each with some of the functions of `benchmarks.worker.JOBS`."""
