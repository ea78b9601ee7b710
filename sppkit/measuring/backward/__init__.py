"""The backward direction: gradients with respect to the values that the rows of a table describe."""
