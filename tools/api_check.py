"""Start the page over a small library and let schemathesis ask what its OpenAPI description allows, and what it does not.

api_check.py PYTHON SCHEMATHESIS [OPTION...]
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

# Among what is too much, a body that is longer than any is answered as such.
REFUSED = ["400", "401", "403", "404", "405", "406", "409", "413", "415", "422", "428", "429", "5xx"]
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,negative_data_rejection"


def main(python: str, schemathesis: str, *options: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        documents = Path(folder) / "documents"
        documents.mkdir()
        for name, text in {"cats.txt": "A cat purrs and hunts mice.", "logs.md": "# Logs\n\nOld log files go."}.items():
            (documents / name).write_text(text)
        library = ["--library", f"{folder}/library"]
        subprocess.run([python, "-m", "stackroom", *library, "--quiet", "add", str(documents)], check=True)
        served = subprocess.Popen(
            [python, "-m", "stackroom", *library, "ui", "--no-open", "--port", "0"], stdout=subprocess.PIPE, text=True
        )
        assert served.stdout is not None
        base, _, token = served.stdout.readline().strip().partition("/?token=")
        try:
            # The stream of events has no end, and these write files wherever they are told to.
            settings = Path(folder) / "schemathesis.toml"
            settings.write_text(f"[checks]\nnegative_data_rejection.expected-statuses = {json.dumps(REFUSED)}\n")
            command = [
                schemathesis,
                "--config-file",
                str(settings),
                "run",
                f"{base}/api/openapi.json",
                "--header",
                f"Authorization: Bearer {token}",
            ]
            left_out = ["--exclude-path", "/api/events"]
            for name in ("upload", "backup", "export"):
                left_out += ["--exclude-operation-id", name]
            return subprocess.run([*command, *left_out, "--checks", CHECKS, *options], check=False).returncode
        finally:
            served.terminate()
            served.wait(30)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
