"""A real browser: Chromium without a screen, driven over WebDriver (the W3C's protocol, which is JSON over HTTP)."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Element:
    def __init__(self, browser: Browser, name: str) -> None:
        self._browser, self._name = browser, name

    def click(self) -> None:
        self._browser.ask("POST", f"/element/{self._name}/click", {})

    def submit(self) -> None:
        """Clicks, and waits for the page that this leads to: a form is sent some time after the click is answered."""
        before = self._browser.one("html")
        self.click()
        end = time.monotonic() + 30
        while before.shown:
            assert time.monotonic() < end, f"the click leads nowhere: {self._browser.url}"
            time.sleep(0.01)

    @property
    def shown(self) -> bool:
        """Whether its page still is the one that the browser shows."""
        told = self._browser.told("GET", f"/element/{self._name}/name")
        return not (isinstance(told, dict) and told["error"] in ("stale element reference", "no such element"))

    def type(self, text: str) -> None:
        self._browser.ask("POST", f"/element/{self._name}/clear", {})
        self._browser.ask("POST", f"/element/{self._name}/value", {"text": text})

    @property
    def text(self) -> str:
        found: str = self._browser.ask("GET", f"/element/{self._name}/text")
        return found


class Browser:
    def __init__(self, url: str) -> None:
        self._url = url

    def told(self, method: str, path: str, body: object = None) -> Any:
        return requests.request(method, self._url + path, json=body, timeout=60).json()["value"]

    def ask(self, method: str, path: str, body: object = None) -> Any:
        told = self.told(method, path, body)
        if isinstance(told, dict) and "error" in told:
            raise AssertionError(told["message"])
        return told

    def open(self, url: str) -> None:
        self.ask("POST", "/url", {"url": url})

    def all(self, selector: str) -> list[Element]:
        found = self.ask("POST", "/elements", {"using": "css selector", "value": selector})
        return [Element(self, each[_ELEMENT]) for each in found]

    def one(self, selector: str) -> Element:
        (found,) = self.all(selector)
        return found

    def texts(self, selector: str) -> list[str]:
        return [element.text for element in self.all(selector)]

    def run(self, script: str) -> Any:
        """As the tools of a developer do it, whatever the page's policy is."""
        return self.ask("POST", "/execute/sync", {"script": script, "args": []})

    @property
    def url(self) -> str:
        found: str = self.ask("GET", "/url")
        return found

    @property
    def console(self) -> list[str]:
        """What the browser complained of since this was asked last."""
        return [each["message"] for each in self.ask("POST", "/se/log", {"type": "browser"})]


@contextmanager
def browsing(chromium: str, driver: str, folder: Path, *, scripts: bool = True) -> Iterator[Browser]:
    """`scripts`: False: JavaScript is off, as some people have it."""
    options = {
        "binary": chromium,
        "args": [
            "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", f"--user-data-dir={folder}",
            "--disable-background-networking", "--no-first-run",
        ],
        "prefs": {} if scripts else {"profile.default_content_setting_values.javascript": 2},
    }  # fmt: skip
    with subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            port = next(found[1] for line in process.stdout if (found := re.search(r"on port (\d+)\.", line)))
            base = f"http://127.0.0.1:{port}/session"
            wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            made = requests.post(base, json={"capabilities": {"alwaysMatch": wanted}}, timeout=60).json()["value"]
            assert "sessionId" in made, made["message"]
            session = f"{base}/{made['sessionId']}"
            try:
                yield Browser(session)
            finally:
                requests.delete(session, timeout=60)
        finally:
            process.terminate()
