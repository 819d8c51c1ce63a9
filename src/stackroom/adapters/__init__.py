"""Stackroom as the storage of other frameworks: each adapter is an extra, and the only place that imports its framework."""
