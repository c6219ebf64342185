"""Milepost beside its peers: `python -m benchmarks.run`; docs/benchmarks.md says how to read it."""
