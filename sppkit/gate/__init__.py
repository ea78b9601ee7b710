"""The gate: a table judged by a policy, by theory and by a baseline; needs no torch."""
