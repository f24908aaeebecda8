"""The data of a run: inputs, data sets, noise and split, and the loaders."""
