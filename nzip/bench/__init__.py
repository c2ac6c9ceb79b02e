"""``nzip bench``: nzip beside the classical compressors on the user's own files."""
