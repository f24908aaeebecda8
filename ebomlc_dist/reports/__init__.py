"""What is made of finished runs: figures, the paper's tables with measured figures, and pages that compare runs."""
