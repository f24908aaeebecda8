"""Untrusted input: image files, folders, tables and arrays, checked before training."""
