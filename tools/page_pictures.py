"""Draw docs/page-search.png and docs/page-documents.png: the page in Chromium, over the samples as a user's documents.

    page_pictures.py CHROMIUM FOLDER

FOLDER is what the samples are copied to, for its name is in the pictures; it must not exist.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
SIZE = {"width": 1120, "height": 720}


def main(chromium: str, folder: str) -> None:
    shutil.copytree(ROOT / "samples", folder)
    with tempfile.TemporaryDirectory() as kept, sync_playwright() as driver:
        command = [sys.executable, "-m", "stackroom", "--library", f"{kept}/library"]
        subprocess.run([*command, "add", folder], check=True)
        served = subprocess.Popen([*command, "ui", "--no-open", "--port", "0"], stdout=subprocess.PIPE, text=True)
        assert served.stdout is not None
        address = served.stdout.readline().strip()
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            page = browser.new_context(viewport=SIZE, color_scheme="light").new_page()
            page.goto(address)
            page.fill("#query", "how do I rotate logs")
            page.wait_for_selector(".hit")
            page.fill("#query", "how do I rotate log files")  # the model is loaded by now: the time is a usual one
            page.wait_for_timeout(1500)
            page.keyboard.press("ArrowDown")
            page.keyboard.press("w")
            page.wait_for_timeout(300)
            page.screenshot(path=ROOT / "docs" / "page-search.png")
            dark = page.context.browser
            assert dark is not None
            page = dark.new_context(viewport=SIZE, color_scheme="dark").new_page()
            page.goto(address)
            page.wait_for_selector("#query:visible")
            page.click("nav a[data-view=documents]")
            page.wait_for_selector(".row")
            for name in ("faq", "Backup"):
                page.click(f".row:has-text('{name}') .switch")
            for name in ("Debian Packaging", "developers-reference"):
                page.click(f".row:has-text('{name}') .box")
            page.wait_for_timeout(800)
            page.screenshot(path=ROOT / "docs" / "page-documents.png")
        finally:
            browser.close()
            served.terminate()
            served.wait(30)


if __name__ == "__main__":
    main(*sys.argv[1:])
