"""A library in a PostgreSQL database with pgvector: a schema of its own, read in snapshots, written in transactions."""
