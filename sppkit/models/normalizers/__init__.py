"""Normalizers, one per file."""
