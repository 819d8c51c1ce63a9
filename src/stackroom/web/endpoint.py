"""An endpoint and its description are one thing: what is checked is what the OpenAPI document says."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

from stackroom.errors import UsageError

if TYPE_CHECKING:
    from stackroom.web.workspace import Workspace

Schema = dict[str, Any]
"""JSON Schema; of its words those that `check` knows are used for what comes in."""

Given = Mapping[str, Any]
"""What a request says: its path's names, its options and the members of its body, defaults filled in."""

_WHOLE = re.compile(r"-?[0-9]{1,15}", re.ASCII)


def text(about: str, **more: Any) -> Schema:
    return {"type": "string", "description": about, **more}


def whole(about: str, **more: Any) -> Schema:
    return {"type": "integer", "description": about, **more}


def flag(about: str, default: bool | None = False) -> Schema:
    """`default` None: it makes a difference that nothing is said."""
    return {"type": "boolean", "description": about, **({} if default is None else {"default": default})}


def several(of: Schema, about: str, **more: Any) -> Schema:
    return {"type": "array", "items": of, "description": about, **more}


def record(required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None, about: str = "") -> Schema:
    """An object with these members and no others."""
    made: Schema = {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }
    return {**made, "description": about} if about else made


def or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


@dataclass(frozen=True)
class Endpoint:
    """One verb. `answer` runs in a thread of its own and returns JSON; path parameters are among `path_names`."""

    method: str
    path: str
    name: str
    summary: str
    answer: Callable[[Workspace, Given], object]
    returns: Schema
    query: Mapping[str, Schema] = field(default_factory=dict)
    body: Schema | None = None
    path_names: Mapping[str, Schema] = field(default_factory=dict)
    status: int = 200
    errors: tuple[int, ...] = ()


def given_query(pairs: Sequence[tuple[str, str]], wanted: Mapping[str, Schema]) -> dict[str, Any]:
    """The options of a request, as their schemas have them. Raises UsageError."""
    said: dict[str, list[str]] = {}
    for name, value in pairs:
        if name not in wanted:
            known = f"There are: {', '.join(wanted)}." if wanted else "There are none here."
            raise UsageError(f"There is no option {name!r}.", hint=known)
        said.setdefault(name, []).append(value)
    found: dict[str, Any] = {}
    for name, schema in wanted.items():
        values = said.get(name)
        if values is None:
            _absent(found, name, schema)
        elif schema["type"] == "array":
            found[name] = [_typed(name, value, schema["items"]) for value in values]
        elif len(values) > 1:
            raise UsageError(f"{name} is given {len(values)} times.", hint="Give it once.")
        else:
            found[name] = _typed(name, values[0], schema)
    for name, value in found.items():
        if name in said:
            check(value, wanted[name], name)
    return found


def _absent(found: dict[str, Any], name: str, schema: Schema) -> None:
    if schema.get("x-required"):
        raise UsageError(f"{name} is missing.", hint=schema["description"])
    found[name] = schema.get("default")


def _typed(name: str, value: str, schema: Schema) -> Any:
    if schema["type"] == "integer":
        if not _WHOLE.fullmatch(value):
            raise UsageError(f"{name} is no whole number: {value!r}.")
        return int(value)
    if schema["type"] == "boolean":
        if value not in ("true", "false"):
            raise UsageError(f"{name} is neither true nor false: {value!r}.")
        return value == "true"
    return value


def given_body(value: object, schema: Schema) -> dict[str, Any]:
    """The members of a body, defaults filled in. Raises UsageError."""
    check(value, schema, "The body")
    assert isinstance(value, dict)
    return {name: value.get(name, one.get("default")) for name, one in schema["properties"].items()}


def check(value: object, schema: Schema, name: str) -> None:
    """Raises UsageError where a value is not what its schema says."""
    if "anyOf" in schema:
        if value is None:
            return
        schema = schema["anyOf"][0]
    kind = schema["type"]
    if not _is(value, kind):
        raise UsageError(f"{name} must be {_NAMED[kind]}.", hint=schema.get("description"))
    if "enum" in schema and value not in schema["enum"]:
        raise UsageError(f"{name} must not be {value!r}.", hint=f"There are: {', '.join(schema['enum'])}.")
    if isinstance(value, str):
        _length(len(value), schema.get("minLength", 0), schema.get("maxLength"), name, "characters")
        if schema.get("format") == "date":
            _date(value, name)
        if "pattern" in schema and not re.search(schema["pattern"], value, re.ASCII):
            raise UsageError(f"{name} must not be {value!r}.", hint=schema.get("description"))
    elif isinstance(value, list):
        _length(len(value), schema.get("minItems", 0), schema.get("maxItems"), name, "items")
        for item in value:
            check(item, schema["items"], f"An item of {name}")
    elif isinstance(value, dict):
        _members(value, schema, name)
    elif isinstance(value, int) and not isinstance(value, bool):
        least, most = schema.get("minimum"), schema.get("maximum")
        if (least is not None and value < least) or (most is not None and value > most):
            raise UsageError(f"{name} must not be {value}.", hint=f"From {least} to {most}.")


_NAMED = {
    "string": "a text",
    "integer": "a whole number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
}


def _is(value: object, kind: str) -> bool:
    if kind == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, {"string": str, "boolean": bool, "array": list, "object": dict}[kind])


def _length(size: int, least: int, most: int | None, name: str, unit: str) -> None:
    if size < least or (most is not None and size > most):
        raise UsageError(f"{name} has {size} {unit}.", hint=f"From {least} to {most}.")


def _date(value: str, name: str) -> None:
    try:
        fits = len(value) == 10 and bool(date.fromisoformat(value))
    except ValueError:
        fits = False
    if not fits:
        raise UsageError(f"{name} is no date: {value!r}.", hint="Write it as 2026-01-31.")


def _members(value: dict[str, Any], schema: Schema, name: str) -> None:
    known = schema["properties"]
    for member in value:
        if member not in known:
            there = f"There are: {', '.join(known)}." if known else "It has none."
            raise UsageError(f"{name} has no member {member!r}.", hint=there)
    for member in schema["required"]:
        if member not in value:
            raise UsageError(f"{member} is missing.", hint=known[member].get("description"))
    for member, item in value.items():
        check(item, known[member], member)
