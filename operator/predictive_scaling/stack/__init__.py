"""The local stack: real servers as plain processes, for `make demo`, `make stack-up` and the tests."""
