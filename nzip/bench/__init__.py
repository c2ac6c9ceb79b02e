"""``nzip bench``: compares nzip with other compressors on the user's own files."""
