"""The named architectures and the parts they are made of."""
