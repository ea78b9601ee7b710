"""What a classifier makes of pictures that differ in what should not matter."""
