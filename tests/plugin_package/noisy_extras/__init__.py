"""A method, a model and a data set for `ebomlc_dist`, from outside."""
