"""What tests of the page in Chromium share: files, and a visit of the real program."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

FILES = {
    "logs.md": "# Logs\n\n## Rotation\n\nlogrotate rotates, compresses and removes old log files every week.\n",
    "cats.txt": "A cat is a small animal that purrs and hunts mice at night.\n",
    "garden/bread.html": "<html><head><title>Bread</title></head><body><h1>Bread</h1><p>Knead the dough.</p>"
    + "<p>Filler.</p>" * 200
    + "<p>Bake the loaf until its crust is brown.</p><script>document.title='run'</script></body></html>",
    "broken.pdf": "%PDF-1.4 nothing of the sort",
}


class Visit:
    """A page of the real program in a browser; what it asks of others, and what it complains of, is kept."""

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        self.base = address.partition("?")[0]
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 820}, **options})
        self.context.set_default_timeout(60_000)
        self.complaints: list[str] = []
        self.context.on("request", self._asked)
        self.context.on(
            "response", lambda told: told.status >= 400 and self.complaints.append(f"{told.status} {told.url}")
        )
        self.page = self.context.new_page()
        self.page.on("console", lambda said: said.type in ("error", "warning") and self.complaints.append(said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(address)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.base, "chrome", "data:", "blob:", "about:")):
            self.complaints.append(request.url)

    def ready(self) -> Any:
        self.page.wait_for_selector("#query:visible")
        return self.page

    def add(self, folder: Path) -> None:
        page = self.page
        page.click("nav a[data-view=documents]")
        page.click("#add-button")
        page.fill("#add-path", str(folder))
        page.click("#add-path-button")

    def indexed(self, text: str) -> None:
        self.page.wait_for_selector(f".job-facts:has-text('{text}')")

    def check(self, name: str) -> None:
        """Nothing is wider than the window, and axe has nothing to say, where it is there (AXE). The page must be open with bypass_csp."""
        wide = self.page.evaluate("document.scrollingElement.scrollWidth - innerWidth")
        assert wide <= 0, f"{name} is {wide} pixels too wide"
        axe = Path(os.environ.get("AXE", "no axe"))
        if axe.exists():
            self.page.evaluate(axe.read_text(encoding="utf-8") + ";0")
            found = self.page.evaluate("axe.run(document, {iframes: false})")
            told = [(one["id"], [node["target"] for node in one["nodes"]][:3]) for one in found["violations"]]
            assert told == [], f"{name}: {told}"

    def titles(self) -> list[str]:
        found: list[str] = self.page.locator(".row .name a").all_inner_texts()
        return found
