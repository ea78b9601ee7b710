"""Shifts of the input: from pictures and random numbers of their own to pictures. One kind per file."""
