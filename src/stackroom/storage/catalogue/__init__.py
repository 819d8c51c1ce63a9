"""The SQLite catalogue: sources, documents, passages and metadata, and the sets of passages that a scope means."""
