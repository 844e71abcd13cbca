"""The local stack: real parts as plain processes, for `make demo`, `make stack-up` and the tests."""
