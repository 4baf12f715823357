"""A headless Chromium, driven over the DevTools protocol.

https://chromedevtools.github.io/devtools-protocol/ has the methods and events named here.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self
from urllib.request import ProxyHandler, build_opener

import websocket

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
START_S = 30.0
CALL_S = 60.0
# Of the test's machine, not of the page: bodies of a cache, and what Chromium asks of others.
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--no-proxy-server",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
)


def find_browser() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One Chromium with a profile of its own; each `page()` is a tab with nothing in its jar."""

    def __init__(self, directory: Path) -> None:
        binary = find_browser()
        assert binary is not None, f"none of {NAMES} is here (make test installs it)"
        self._port_file = directory / "profile" / "DevToolsActivePort"
        with (directory / "chromium.log").open("wb") as log:
            self._process = subprocess.Popen(
                [binary, *FLAGS, f"--user-data-dir={directory / 'profile'}", "about:blank"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._socket = self._connect()
        self._ids = itertools.count(1)
        self._pages: dict[str, Page] = {}

    def _connect(self) -> Any:
        until_s = time.monotonic() + START_S
        while not self._port_file.exists() or "\n" not in self._port_file.read_text():
            assert self._process.poll() is None, "Chromium ended"
            assert time.monotonic() < until_s, "Chromium does not start"
            time.sleep(0.02)
        port = self._port_file.read_text().splitlines()[0]
        opener = build_opener(ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{port}/json/version", timeout=START_S) as reply:
            url = json.load(reply)["webSocketDebuggerUrl"]
        return websocket.create_connection(url, timeout=CALL_S, http_no_proxy=["*"])

    def page(self, url: str, *, width: int = 1280, height: int = 800, dark: bool = False) -> Page:
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)
        attached = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        page = Page(self, attached["sessionId"], context)
        self._pages[attached["sessionId"]] = page
        page.prepare(width, height, dark)
        page.go(url)
        return page

    def call(self, method: str, session: str | None = None, /, **params: Any) -> dict[str, Any]:
        number = next(self._ids)
        message = {"id": number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer.get('error')}"
                result: dict[str, Any] = answer["result"]
                return result
            page = self._pages.get(answer.get("sessionId", ""))
            if page is not None:
                page.heard(answer["method"], answer["params"])

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self._socket.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


class Page:
    """A tab; what goes wrong in it is in `troubles`, what it asked for in `requests`."""

    def __init__(self, browser: Browser, session: str, context: str) -> None:
        self._browser = browser
        self._session = session
        self._context = context
        self.troubles: list[str] = []
        self.requests: list[str] = []

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **params)

    def prepare(self, width: int, height: int, dark: bool) -> None:
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.size(width, height)
        self.colours(dark)

    def size(self, width: int, height: int) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def colours(self, dark: bool) -> None:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def heard(self, event: str, params: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif event == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            thrown = details.get("exception", {}).get("description", "")
            self.troubles.append(f"{details['text']} {thrown}")
        elif event == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            said = " ".join(str(arg.get("value", arg)) for arg in params["args"])
            self.troubles.append(f"console.{params['type']}: {said}")
        elif event == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            entry = params["entry"]
            self.troubles.append(f"{entry['source']}: {entry['text']} {entry.get('url', '')}")

    # -- doing ---------------------------------------------------------------------------------

    def go(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def visit(self, route: str) -> None:
        """Another view, as a click on a link would."""
        self.run(f"location.hash = {json.dumps(route)}")

    def run(self, script: str) -> Any:
        """What an expression is worth in the page; promises are waited for."""
        answer = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def press(self, key: str, *, shift: bool = False) -> None:
        text = {"Enter": "\r", " ": " "}.get(key)
        code = {"Tab": 9, "Enter": 13, " ": 32}[key]
        common = {
            "key": key,
            "code": "Space" if key == " " else key,
            "windowsVirtualKeyCode": code,
            "modifiers": 8 if shift else 0,
        }
        self.call(
            "Input.dispatchKeyEvent", type="keyDown", **common, **({"text": text} if text else {})
        )
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def click(self, selector: str) -> None:
        """Click the middle of an element with the mouse."""
        box = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect();"
            " return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call(
                "Input.dispatchMouseEvent",
                type=kind,
                x=box[0],
                y=box[1],
                button="left",
                clickCount=1,
            )

    # -- seeing --------------------------------------------------------------------------------

    def text(self, selector: str = "body") -> str:
        """What is to be read there; empty where there is no such element."""
        found: str = self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")
        return found

    def wait(self, script: str, within_s: float = 30.0) -> Any:
        """Until the expression is true; an AssertionError shows the page's text."""
        until_s = time.monotonic() + within_s
        while True:
            with contextlib.suppress(AssertionError):
                if found := self.run(script):
                    return found
            if time.monotonic() > until_s:
                raise AssertionError(f"never true: {script}\n{self.troubles}\n{self.text()[:3000]}")
            time.sleep(0.05)

    def wait_text(self, *texts: str, selector: str = "body", within_s: float = 30.0) -> None:
        wanted = json.dumps(texts)
        where = f"(document.querySelector({json.dumps(selector)})?.innerText ?? '')"
        self.wait(f"{wanted}.every((text) => {where}.includes(text))", within_s)

    def picture(self, path: Path) -> Path:
        """A PNG of what is seen."""
        data = self.call("Page.captureScreenshot")["data"]
        path.write_bytes(base64.b64decode(data))
        return path

    def close(self) -> None:
        self._browser.call("Target.disposeBrowserContext", browserContextId=self._context)


@contextlib.contextmanager
def opened(browser: Browser, url: str, **options: Any) -> Iterator[Page]:
    page = browser.page(url, **options)
    try:
        yield page
    finally:
        page.close()


def eventually(true: Callable[[], bool], what: str, within_s: float = 30.0) -> None:
    until_s = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < until_s, what
        time.sleep(0.05)
