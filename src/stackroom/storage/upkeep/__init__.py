"""Work between commits, and on a whole library: checkpoints, compaction, sketches and postings files, verification, backups."""
