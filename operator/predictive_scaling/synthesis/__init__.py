"""Made-up demand of services of different characters: the same seed, the same numbers. Only destinations do I/O."""
