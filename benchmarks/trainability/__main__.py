"""``python -m benchmarks.trainability``."""

import sys

from benchmarks.trainability.train import train

if sys.argv[1:2] == ["train"]:
    train(*sys.argv[2:3])
else:
    raise SystemExit(__import__("benchmarks.trainability", fromlist=["__doc__"]).__doc__)
