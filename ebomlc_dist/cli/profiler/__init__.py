"""What ``ebomlc profile`` does: rows from words, data, subjects, and the same on several numbers of processes."""
