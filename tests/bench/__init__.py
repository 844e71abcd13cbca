"""The benchmarks of `make bench`: accuracy, scaling, speed and memory, compared with other methods in the same run."""
