"""What `make bench` measures: accuracy, scaling, speed and memory, beside peers in the same run."""
