"""Synthetic demand of services with different workload profiles. Equal seeds give equal numbers.

Only `destinations` does I/O.
"""
