"""What an agent is told that calls a tool wrongly: in the words of the tools."""

from __future__ import annotations

from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import ValidationError

from stackroom.errors import StackroomError

_OURS = {
    "stackroom list": "list_documents",
    "stackroom set": "list_sets",
    "Give --where once for each; all of them must hold.": "Give each as an item of where; all of them must hold.",
}
"""What hints name for the command line, as the tools call it. What only the user can do stays as it is."""


def refusal(error: StackroomError) -> ToolError:
    hint = error.hint or ""
    for command, tool in _OURS.items():
        hint = hint.replace(command, tool)
    return ToolError(f"{error.message} {hint}".strip())


class Tools(MCPServer[Any]):
    """The server of the tools. An argument that a tool does not have is refused: left out in silence, it would be taken for heard."""

    async def call_tool(self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None) -> Any:
        """Raises ToolError."""
        known = {tool.name: tool.input_schema.get("properties", {}) for tool in await self.list_tools()}
        if name in known and (foreign := sorted(set(arguments) - set(known[name]))):
            has = ", ".join(known[name]) or "none"
            raise ToolError(f"{name} has no argument {', '.join(map(repr, foreign))}. It has: {has}.")
        try:
            return await super().call_tool(name, arguments, context)
        except ToolError as error:
            if not isinstance(error.__cause__, ValidationError):
                raise
            wrong = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.__cause__.errors()]
            raise ToolError(f"{name} was called wrongly. {'; '.join(wrong)}.") from None
