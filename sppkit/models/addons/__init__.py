"""Layers that are put somewhere into a residual block beside its normalizers, one per file."""
