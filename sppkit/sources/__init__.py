"""What a run measures, behind one face: a named architecture or the user's own network."""
