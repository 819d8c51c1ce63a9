"""A library on disk: `store` opens it, a `snapshot` reads one commit's state, a `writer` makes the next. The rooms below are theirs."""
