"""A library in collections of a Milvus server (2.6.2 or newer), by the versions and the gate of `stackroom.engines.versioned`."""
