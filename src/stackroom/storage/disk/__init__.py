"""Files and locks: what is durable, what things are called on disk, and who may write."""
