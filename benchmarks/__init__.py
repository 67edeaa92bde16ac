"""What the parts cost, beside a peer in the same process: `python -m benchmarks.all --out=DIR`."""
