"""Records, meters and progress of a run while it trains, and where its time went."""
