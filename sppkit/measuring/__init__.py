"""From a network and batches to a table."""
