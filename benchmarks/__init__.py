"""What measuring costs, as ratios measured side by side; ``python -m benchmarks`` runs it all."""
