"""Collectives, and networks of which each rank holds a part."""
