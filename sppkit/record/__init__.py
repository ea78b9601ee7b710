"""What is on disk: the table, and the record of how it was made."""
