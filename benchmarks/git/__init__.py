"""Does a learned nuisance make a classifier invariant to the real one? Small networks on long-tailed digits.

    python -m benchmarks.git train     # what results.jsonl lacks; a minute for a generator, 10 s for a network
    python -m benchmarks.git page      # tables and pictures of docs/git.md

The digits of scikit-learn, 1,797 of 8 x 8 pixels: 60 of each class are for testing, untransformed; of the rest,
long-tailed sets are made: 1000, 250, 111, 62, ..., 10 pictures a class, each under a nuisance of its own, and the same
few base pictures again and again. Classes change ranks from set to set. A generator is trained on each set and sees
nothing else.
"""
