"""Predictions: numbers to numbers; they share no code with the statistics that they are compared with."""
