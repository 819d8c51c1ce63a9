"""One room for each kind of verb."""
