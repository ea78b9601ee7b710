"""The faults, by kind."""

from benchmarks.gate_users.faults import activations, biases, branches, layout, norms, weights
from benchmarks.gate_users.faults.fault import Fault

FAULTS: dict[str, Fault] = {
    fault.kind: fault for family in (activations, biases, weights, branches, norms, layout) for fault in family.FAULTS
}
