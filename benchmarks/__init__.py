"""What things cost, beside real peers: `python -m benchmarks`."""
