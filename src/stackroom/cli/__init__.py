"""The command line: words for a person, JSON for a script, exit codes for both."""
