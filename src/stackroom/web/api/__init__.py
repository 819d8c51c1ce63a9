"""The verbs over HTTP: the same as on the command line, in the same JSON."""
