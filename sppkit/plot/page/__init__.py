"""One interactive page of one or more runs: a single file that fetches nothing."""
