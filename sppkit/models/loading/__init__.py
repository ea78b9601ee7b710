"""Networks that are not ours: from what follows ``--model`` to a module with its weights."""
