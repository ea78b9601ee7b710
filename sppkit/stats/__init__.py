"""Statistics: tensor to numbers; they know no module, hook or file."""
