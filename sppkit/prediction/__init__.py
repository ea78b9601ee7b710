"""From a network to the layers that theory knows, and from its curves to rows."""
