"""Where other programs call sppkit: pytest, Lightning, transformers."""
