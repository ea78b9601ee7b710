"""Networks written by hand, predicted from one forward pass and measured over seeds."""
