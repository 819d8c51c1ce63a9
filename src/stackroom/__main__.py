"""`python -m stackroom`, and the `stackroom` command."""

from __future__ import annotations

from stackroom.cli.main import main

if __name__ == "__main__":
    main()
