"""The library as tools for agents (Model Context Protocol). Imported by `stackroom mcp`; needs the extra `mcp`."""
