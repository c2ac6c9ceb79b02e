"""Trains M1 with torch: data, model, loop and integer export (needs the ``train`` extra)."""
