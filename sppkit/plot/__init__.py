"""Pictures of a table; matplotlib lives here and nowhere else."""
