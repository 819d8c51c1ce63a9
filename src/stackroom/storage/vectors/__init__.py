"""Vector files and their sketches: rows that are appended and scanned, and what is quicker than a scan."""
