"""What a reader's browser meets on each page of the site, measured and judged.

The tests of the site use the same functions, so that both speak of the same things.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import http.server
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "_build" / "html"
KILOBYTES = 300  # of a first visit, at most
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
COMPRESSED = {".html", ".css", ".js", ".mjs", ".svg", ".json", ".xml", ".txt"}
FIGURE = re.compile(rb"<figure\b.*?</figure>", re.S)


def browser_path() -> str | None:
    """Where this machine keeps Chromium, if it has one."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def pages(site: Path = SITE) -> list[str]:
    """Every page of the site, by its path below the root."""
    found = (path.relative_to(site) for path in site.rglob("*.html"))
    return sorted(path.as_posix() for path in found if path.parts[0] != "_static")


# A server as the web has it ------------------------------------------------------


@functools.lru_cache(maxsize=256)
def compressed(path: str, changed: int) -> bytes:
    return gzip.compress(Path(path).read_bytes(), 6)


class Compressing(http.server.SimpleHTTPRequestHandler):
    """Serve files as a web host does: text with gzip, everything for an hour."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if path.is_dir():
            path /= "index.html"
        if not path.is_file():
            return self.send_error(404)
        packed = path.suffix in COMPRESSED
        stamp = path.stat().st_mtime_ns
        body = compressed(str(path), stamp) if packed else path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(str(path)))
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "max-age=3600")
        if packed:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serve(site: Path = SITE) -> Iterator[str]:
    """Serve the site on this machine alone, on a free port; yield its address."""
    handler = functools.partial(Compressing, directory=str(site))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


# Weight --------------------------------------------------------------------------


def transferred(file: Path) -> int:
    """Bytes of a file on the wire, the figures of a page not counted."""
    if "_images" in file.parts:
        return 0
    body = file.read_bytes()
    if file.suffix == ".html":
        body = FIGURE.sub(b"", body)
    return len(gzip.compress(body, 6)) if file.suffix in COMPRESSED else len(body)


def weight(asked: set[str], site: Path = SITE) -> dict[str, int]:
    """Bytes of a first visit to a page that asked for these paths below the root.

    What counts is what a fresh browser context asks for (1400 × 900 pixels, light,
    nothing in its cache, no click and no scroll) until its network is idle. Each
    file counts once with its body as a host sends it: text in gzip (level 6), fonts
    and images as they are; no headers. Figures do not count: neither ``<figure>``
    elements of the page (their scripts do) nor files below ``_images``. A kilobyte
    has 1000 bytes.
    """
    files = {path: site / unquote(path).lstrip("/") for path in sorted(asked)}
    return {path: transferred(file) for path, file in files.items() if file.is_file()}


def weigh(browser: Any, address: str, page: str) -> dict[str, int]:
    """Open a page as a first visit and weigh what it asked for."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    tab, asked = context.new_page(), set[str]()
    tab.on("request", lambda request: asked.add(request.url))
    try:
        tab.goto(f"{address}/{page}", wait_until="load")
        tab.wait_for_load_state("networkidle")
    finally:
        context.close()
    return weight({urlparse(url).path for url in asked if url.startswith(address)})


def main() -> None:
    """Print what a first visit to each page weighs, and the heaviest parts of one."""
    from playwright.sync_api import sync_playwright

    with serve() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path(), args=FLAGS)
        for page in pages():
            parts = weigh(browser, address, page)
            print(f"{sum(parts.values()) / 1000:6.1f} kB  {page}")
            if "07" in page:
                for url, size in sorted(parts.items(), key=lambda item: -item[1]):
                    print(f"    {size:7d}  {url}")
        browser.close()


if __name__ == "__main__":
    main()
