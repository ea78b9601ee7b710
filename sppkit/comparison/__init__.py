"""Several networks beside each other: what is typed for them, how they are measured, and where they part."""
