"""Does the verdict agree with training? Small networks, a third of them sick, each really trained.

    python -m benchmarks.trainability train      # resumable: results.jsonl holds one line per run
    python -m benchmarks.trainability longer     # what has learnt nothing by then has more steps
    python -m benchmarks.trainability measure    # tables at initialization, one file
    python -m benchmarks.trainability verdicts   # every table judged, held against training
    python -m benchmarks.trainability proof      # docs/verdict-proof.md and its picture

A verdict sees a network before its first step and none of its data, so every case is sick or sound by itself: no
learning-rate schedule, no augmentation, no label is at fault.
"""
