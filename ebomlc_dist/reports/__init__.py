"""What is made of finished runs: figures, tables, comparisons, and the pages that show them."""
