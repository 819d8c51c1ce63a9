"""A model's tokenizer, read from its file at first use; what is pickled is only where the file is."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from stackroom.errors import UnavailableError
from stackroom.ingest.embedders.unigram import UnigramTokenizer


class FileTokenizer:
    """The tokenizer of a `tokenizer.json` (any kind) or a `vocab.txt` (BERT's WordPiece)."""

    def __init__(self, path: Path, *, lowercase: bool = True) -> None:
        self._path = path
        self._lowercase = lowercase

    @property
    def where(self) -> tuple[str, bool]:
        """What makes the same tokenizer in another process: its file, and whether it folds case."""
        return str(self._path), self._lowercase

    def __reduce__(self) -> tuple[Any, ...]:
        return from_where, self.where

    def spans(self, text: str) -> Sequence[tuple[int, int]]:
        """`(start, end)` code points of every token, special tokens excluded, in order."""
        encoding = self._tokenizer.encode(_as_utf8(text), add_special_tokens=False)
        found: list[tuple[int, int]] = encoding.offsets
        return found

    def ids(self, text: str, limit: int) -> list[int]:
        """Token ids with the special tokens, at most `limit` of them, the closing one kept."""
        ids: list[int] = self._tokenizer.encode(_as_utf8(text)).ids
        return ids if len(ids) <= limit else [*ids[: limit - 1], ids[-1]]

    @cached_property
    def _tokenizer(self) -> Any:
        import tokenizers

        try:
            if self._path.suffix == ".txt":
                # Read here: given a path, some releases warn.
                vocabulary = tokenizers.models.WordPiece.read_file(str(self._path))
                return tokenizers.BertWordPieceTokenizer(vocabulary, lowercase=self._lowercase)
            found = tokenizers.Tokenizer.from_file(str(self._path))
        except Exception as error:  # the library raises bare Exception
            raise UnavailableError(
                f"The tokenizer {self._path} can't be read: {error}.",
                hint="If it is the shipped one, install again: pip install --force-reinstall stackroom",
                path=self._path,
            ) from error
        found.no_padding()
        found.no_truncation()
        return found


def _as_utf8(text: str) -> str:
    """A lone surrogate, which is no text to UTF-8, as a question mark: every character keeps its place."""
    return text.encode("utf-8", "replace").decode()


def from_where(path: str, lowercase: bool | None) -> FileTokenizer | UnigramTokenizer:
    """The tokenizer that said so of itself."""
    return UnigramTokenizer(Path(path)) if lowercase is None else FileTokenizer(Path(path), lowercase=lowercase)
