"""Where other programs call sppkit: pytest."""
