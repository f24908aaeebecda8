"""What a run tells while it goes: its records, meters, progress, and where its time went."""
