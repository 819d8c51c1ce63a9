"""The rooms of a salvage: broken tables, records, vectors, what is left to do."""
