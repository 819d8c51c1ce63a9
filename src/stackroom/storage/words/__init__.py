"""Full text: words as they are indexed, FTS5, and the postings files that rank more quickly than it does."""
