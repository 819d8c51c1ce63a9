"""A library in collections of a Qdrant server (1.10 or newer), by the versions and the gate of `stackroom.engines.versioned`."""
