"""What is wrong with a signal, where it begins, why, and what to do: one file per kind of fault."""
