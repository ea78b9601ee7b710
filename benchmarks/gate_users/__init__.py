"""How often the gate is wrong in users' own models: planted faults, harmless changes, and a truth of its own.

- ``python -m benchmarks.gate_users faults`` plants every kind of fault at four strengths in every network, and writes
  ``faults.json`` and ``faults.md``. One network and one kind: ``faults --network gpt --kind "bias in all"``; both take
  a part of the name and can be repeated.
- ``python -m benchmarks.gate_users harmless --groups 12`` holds 12 groups of four seeds of each network against one
  another, and refactored networks against all of them: ``harmless.json``, ``harmless.md``.

What is measured is kept in ``cache/`` (ignored by git), a folder for each state of the networks' and faults' code. So
the second run only judges: a change of the gate is tried in a minute. A change of what is *measured* (a further column,
a record that says more) needs ``--fresh``, or the folder removed. A run that was cut off goes on where it was.

- ``networks/``: fourteen networks written as users write them, and six of timm and transformers where these are there.
- ``faults/``: kinds, strengths, and the concepts that a cause may name.
- ``factory.py``: what ``--model`` names; the fault is planted there, so that a run's record does not tell of it.
- ``truth.py``: whether a change matters, in float64, by code of its own: a share of the squared mean that moves by 0.1,
  a variance, a branch's variance or an addition that moves by a quarter.
- ``causes.py``: which concepts a cause names; keep it in step with the diagnosis's sentences.
- ``interface.py``: everything that is taken from sppkit's insides.

A fault that draws other weights is marked ``paired: false``: truth takes 16 seeds there, and no place is judged.
"""
