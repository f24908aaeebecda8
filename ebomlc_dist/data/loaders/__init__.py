"""From a set of images to the batches of a step, the same ones whatever holds the images."""
