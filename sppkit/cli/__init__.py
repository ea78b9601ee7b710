"""The command line: one file per command; ``console`` alone prints and exits."""
