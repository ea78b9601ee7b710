"""How often the gate is wrong: planted faults that it must find, and harmless changes that it must let pass."""
