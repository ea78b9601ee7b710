"""How often the gate is wrong in users' own models."""
