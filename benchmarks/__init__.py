"""Benchmarks of gradc against hand-written NumPy and the peer frameworks; run `python -m benchmarks`."""
