"""Does invariance shrink with the class? Small networks on long-tailed handwritten digits.

    python -m benchmarks.invariance train    # what results.jsonl does not hold yet; a few seconds per network
    python -m benchmarks.invariance page     # figures, picture and tables of docs/invariance.md from it

The digits of scikit-learn, 1,797 of 8 × 8 pixels: 60 of each class are for testing, untransformed; the rest is what
long-tailed sets are made of, 100, 25, 11, 6, 5, ..., 5 pictures a class, each under one transformation of its own.
Classes change ranks from set to set.
"""
