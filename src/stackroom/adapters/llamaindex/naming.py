"""Where each store keeps what is no passage: names of attachments, of which none is the beginning of another store's."""

from __future__ import annotations

INDEXES = "index/"
"""Attachments: an index struct each, as a migration keeps them too."""
DOCSTORE = "docstore"
"""The docstore's own namespace, in which the library's passages are seen as well."""


def store_name(kind: str, namespace: str) -> str:
    """The name of a store in a namespace that the user chose, whatever characters it has."""
    return f"{kind}-{len(namespace)}:{namespace}"


def attachment_name(store: str, collection: str, key: str) -> str:
    """Where a store's value is kept. No other store, collection and key have the same name."""
    return f"{attachment_prefix(store, collection)}{key}"


def attachment_prefix(store: str, collection: str) -> str:
    return f"{store}/{len(collection)}:{collection}/"
