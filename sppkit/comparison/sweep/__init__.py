"""Many runs from one file: a grid of options, its cells measured once each, and one table of them all."""
