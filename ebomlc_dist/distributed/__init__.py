"""What runs between ranks: collectives, and networks of which each rank holds a part."""
