"""What the HTML pages share: their look, charts and tables as values, and the way a template becomes one safe file."""
