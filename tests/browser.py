"""A real browser, Debian's Chromium, as the tests of the dashboard drive it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = "chromium"

#: Where pictures of the pages are put, if they are wanted.
PICTURES = os.environ.get("JOBPUSH_PICTURES")


def why_not() -> str | None:
    """Why no browser can be driven here; None if one can."""
    if shutil.which(CHROMIUM) is None:
        return "there is no chromium on PATH (Debian's package chromium)"
    if importlib.util.find_spec("playwright") is None:
        return "playwright is not installed"
    return None


@contextmanager
def running(*arguments: str) -> Iterator[Any]:
    """
    A browser without a window.

    :param arguments: more of the command line's.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Root may have no sandbox; /dev/shm is small in containers. Pages come from loopback alone.
        browser = playwright.chromium.launch(
            executable_path=shutil.which(CHROMIUM), args=["--no-sandbox", "--disable-dev-shm-usage", *arguments]
        )
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """
    One person's browser on one page.

    :ivar wrong: what the page complained of: errors of scripts, dialogs, what its policy has blocked.
    """

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        self.address = address
        self.context = browser.new_context(locale=options.pop("locale", "en-GB"), **options)
        self.context.set_default_timeout(20_000)
        self.page = self.context.new_page()
        self.wrong: list[str] = []
        self.page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        self.page.on("dialog", self._dialog)
        self.page.on("console", self._said)

    def _dialog(self, dialog: Any) -> None:
        self.wrong.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _said(self, message: Any) -> None:
        # A server that is away is told in the console too: that is no fault of the page.
        if message.type == "error" and "Failed to load resource" not in message.text and "ERR_" not in message.text:
            self.wrong.append(f"console: {message.text}")

    def open(self, path: str = "/") -> Any:
        """Go there; returns the page when it follows the server."""
        self.page.goto(self.address + path)
        self.live()
        return self.page

    def live(self) -> None:
        """Returns when the page follows the server."""
        self.until("document.getElementById('connection').textContent === 'live'")

    def until(self, expression: str, seconds: float = 20.0) -> None:
        """Returns when that is true in the page. (Playwright's own way is JavaScript from text, which the page forbids.)"""
        ends = time.monotonic() + seconds
        while not self.page.evaluate(f"Boolean({expression})"):
            if time.monotonic() > ends:
                raise AssertionError(f"not true within {seconds:g} s: {expression}")
            self.page.wait_for_timeout(20)

    def text(self, selector: str) -> str:
        """What stands there."""
        text: str = self.page.locator(selector).inner_text()
        return text

    def state_of(self, key: str, state: str) -> None:
        """Returns when the table shows that job in that state."""
        row = self.page.locator(".body .row", has=self.page.locator(f'[data-key="{key}"]'))
        row.locator(".state", has_text=state).wait_for()

    def picture(self, name: str) -> None:
        """Keep what it looks like, if pictures are wanted."""
        if PICTURES:
            self.page.screenshot(path=str(Path(PICTURES) / f"{name}.png"))

    def barriers(self) -> list[str]:
        """What axe-core says would keep somebody from using the page."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page).response["violations"]
        return [f"{each['id']}: {node['html'][:200]} {node['failureSummary'][:300]}" for each in found for node in each["nodes"][:2]]

    def close(self) -> None:
        """The person leaves."""
        self.context.close()
