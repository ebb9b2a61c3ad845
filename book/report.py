"""What a reader's browser meets on each page of the site, measured and judged.

The tests of the site use the same functions, so that both speak of the same things.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import http.server
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urljoin, urlparse

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "_build" / "html"
TOOLS = ROOT / "book" / "report"
WIDTHS = (320, 390, 768, 1400)  # of windows, in pixels
SECONDS = 120  # that one step in the browser may take
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


def node() -> str:
    """Node as it came with the environment, or else the machine's."""
    own = Path(sys.executable).with_name("node")
    return str(own) if own.exists() else shutil.which("node") or "node"


def pages(site: Path = SITE) -> list[str]:
    """Every page of the site, by its path below the root, but its redirection."""
    found = (path.relative_to(site) for path in site.rglob("*.html"))
    kept = (path.as_posix() for path in found if path.parts[0] != "_static")
    return sorted(path for path in kept if path != "index.html")


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


# A page in the browser -------------------------------------------------------------


class Findings(NamedTuple):
    """What a browser finds on a page; every list is empty on a good one."""

    weight: dict[str, int]
    """Bytes of each file that a first visit transfers, as `weight` counts them."""
    errors: list[str]
    foreign: list[str]
    overflow: dict[int, int]
    """Pixels by which the page is wider than a window, for windows that it exceeds."""
    light: list[str]
    dark: list[str]
    """What axe-core finds, and texts of too little contrast, by color scheme."""
    structure: list[str]
    """Faults of formulas, headings and of regions that the keyboard cannot reach."""


def examine(browser: Any, address: str, page: str, whole: bool = True) -> Findings:
    """Load a page once and look at it in every width and both color schemes.

    Everything folded is unfolded first. The ``whole`` page goes through axe-core, in
    both schemes; otherwise the page without what axe has no rule for, once, its
    contrasts being ours to judge: the tests do so, for it is ten times faster.
    """
    context = browser.new_context(
        viewport={"width": 1400, "height": 900}, reduced_motion="reduce"
    )
    tab, asked, errors = context.new_page(), set[str](), list[str]()
    context.set_default_timeout(SECONDS * 1000)
    tab.on("request", lambda request: asked.add(request.url))
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on(
        "console",
        lambda said: errors.append(said.text) if said.type == "error" else None,
    )
    try:
        tab.goto(f"{address}/{page}", wait_until="networkidle" if whole else "load")
        tab.evaluate("document.fonts.ready.then(() => null)")
        weights = weight({urlparse(u).path for u in asked if u.startswith(address)})
        judged = judge(tab, whole)
    finally:
        context.close()
    known = (address, "data:", "blob:")
    foreign = sorted(url for url in asked if not url.startswith(known))
    return Findings(weights, errors, foreign, *judged)


def judge(tab: Any, whole: bool) -> tuple[Any, ...]:
    """Overflow, findings in light and in dark, and faults of structure."""
    tab.evaluate((TOOLS / "node_modules/axe-core/axe.min.js").read_text("utf8"))
    tab.evaluate((TOOLS / "audit.js").read_text("utf8"))
    tab.evaluate("audit.unfold()")
    overflow, structure = {}, tab.evaluate("[...audit.formulas(), ...audit.headings()]")
    for width in WIDTHS:
        tab.set_viewport_size({"width": width, "height": 900})
        overflow[width] = tab.evaluate("audit.sideways()")
        structure += tab.evaluate("audit.unreachable()")
    light = tab.evaluate("audit.contrast()")
    if whole:
        light += tab.evaluate("audit.axe()")
    else:
        tab.evaluate("audit.thin()")
        light += tab.evaluate("audit.axe(null, ['color-contrast'])")
    tab.emulate_media(color_scheme="dark", reduced_motion="reduce")
    tab.evaluate("audit.paint('dark')")
    dark = tab.evaluate("audit.contrast()")
    dark += tab.evaluate("audit.axe(['color-contrast'])") if whole else []
    exceeded = {width: pixels for width, pixels in overflow.items() if pixels > 0}
    return exceeded, light, dark, sorted(set(structure))


# Links and HTML ----------------------------------------------------------------------


class Links(HTMLParser):
    """The ids and the links of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids, self.links = set[str](), list[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.ids |= {named["id"] or ""} if "id" in named else set()
        for name in ("href", "src"):
            link = named.get(name)
            if link and (tag, named.get("rel")) != ("link", "canonical"):
                self.links.append(link)


@functools.cache
def parsed(page: str, site: Path = SITE) -> Links:
    """The ids and links of a page, read once."""
    return Links((site / page).read_text("utf8"))


def dead(page: str, site: Path = SITE) -> list[str]:
    """Links of a page that lead to no file, or to no anchor, of the site."""
    found = []
    for link in parsed(page, site).links:
        target = urlparse(urljoin(f"http://site/{page}", link))
        if target.netloc != "site" or target.scheme not in ("http", "https"):
            continue
        file = unquote(target.path).lstrip("/") or "index.html"
        anchor = unquote(target.fragment) if file.endswith(".html") else ""
        exists = (site / file).exists()
        if not exists or (anchor and anchor not in parsed(file, site).ids):
            found.append(link)
    return found


DRAWN = re.compile(r'<span class="katex-html"')
SPAN = re.compile(r"<(/?)span\b")


def undrawn(text: str) -> str:
    """The page without the drawn half of its formulas, which is half of its marks."""
    kept, end = [], 0
    for drawing in DRAWN.finditer(text):
        kept.append(text[end : drawing.start()])
        depth = 0
        for mark in SPAN.finditer(text, drawing.start()):
            depth += -1 if mark[1] else 1
            if not depth:
                end = text.index(">", mark.end()) + 1
                break
    return "".join([*kept, text[end:]])


def validate(names: list[str], whole: bool = True) -> dict[str, list[str]]:
    """What html-validate finds on each page, without drawn formulas unless whole."""
    tool = TOOLS / "node_modules/html-validate/bin/html-validate.mjs"
    config = TOOLS / "htmlvalidate.mjs"
    with tempfile.TemporaryDirectory() as folder:
        copies = {str(Path(folder, f"{i}.html")): name for i, name in enumerate(names)}
        for copy, name in copies.items():
            text = (SITE / name).read_text("utf8")
            Path(copy).write_text(text if whole else undrawn(text), "utf8")
        command = [node(), str(tool), "--config", str(config), "-f", "json", *copies]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=900)
    found: dict[str, list[str]] = {name: [] for name in names}
    for file in json.loads(ran.stdout):
        for one in file["messages"]:
            place = f"line {one['line']}: {one['message']} ({one['ruleId']})"
            found[copies[file["filePath"]]].append(place)
    return found


# Lighthouse --------------------------------------------------------------------------

CATEGORIES = ("performance", "accessibility", "best-practices", "seo")
JUDGED = ("nbs/index", "nbs/07_", "nbs/19_")
SCORE = 95  # of 100, at least
RUNS = 3


def lighthouse(url: str, browser: str) -> dict[str, int]:
    """One run of Lighthouse, desktop preset: its scores out of 100."""
    flags = " ".join(["--headless=new", *FLAGS[1:]])
    command = [
        node(),
        str(TOOLS / "node_modules/lighthouse/cli/index.js"),
        url,
        "--preset=desktop",
        "--output=json",
        "--quiet",
        f"--only-categories={','.join(CATEGORIES)}",
        f"--chrome-flags={flags}",
    ]
    environment = os.environ | {"CHROME_PATH": browser}
    ran = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=environment
    )
    if ran.returncode:
        raise RuntimeError(f"Lighthouse failed: {ran.stderr.strip()[-500:]}")
    scores = json.loads(ran.stdout)["categories"]
    return {name: round(100 * (scores[name]["score"] or 0)) for name in CATEGORIES}


def median_scores(url: str, browser: str) -> dict[str, int]:
    """The median of three runs, for each category."""
    runs = [lighthouse(url, browser) for _ in range(RUNS)]
    return {
        name: int(statistics.median(run[name] for run in runs)) for name in CATEGORIES
    }


# The report --------------------------------------------------------------------------

GOALS = f"""Goals: a first visit weighs at most {KILOBYTES} kB (gzip, figures not
counted); no finding of axe-core (WCAG 2.2 AA and best practices) in light or dark;
no foreign request; no console error; no page wider than a window of {WIDTHS}
pixels; no dead link or anchor; valid HTML; Lighthouse at least {SCORE} of 100."""
HEAD = (
    "     kB  axe light  dark  structure  foreign  console  too wide  dead  HTML  page"
)


def missing() -> str:
    """What this machine lacks for the report, in words."""
    if not browser_path():
        return "no Chromium on this machine: install one"
    if not (TOOLS / "node_modules/axe-core").exists():
        return "axe-core and html-validate are not installed: make site-report does"
    return ""


def row(page: str, found: Findings, invalid: list[str]) -> list[str]:
    """Print the line of a page; return what is wrong with it, in words."""
    kilobytes = sum(found.weight.values()) / 1000
    lost = dead(page)
    counted = (found.light, found.dark, found.structure, found.foreign, found.errors)
    columns = (*counted, found.overflow, lost, invalid)
    widths = (11, 6, 11, 9, 9, 10, 6, 6)
    numbers = [f"{len(one):{wide}}" for one, wide in zip(columns, widths, strict=True)]
    print(f"{kilobytes:7.1f}{''.join(numbers)}  {page}", flush=True)
    wide = [
        f"wider than {width} by {by} pixels" for width, by in found.overflow.items()
    ]
    heavy = [f"{kilobytes:.0f} kB"] if kilobytes > KILOBYTES else []
    said = [*heavy, *(one for some in counted for one in some), *wide]
    return [*said, *(f"dead link {link}" for link in lost), *invalid]


def report_pages(playwright: Any, address: str, names: list[str]) -> list[str]:
    """Examine every page in the browser; return the faults."""
    print(f"{GOALS}\n\n{HEAD}")
    front = "index.html"
    invalid = validate([*names, front])
    faults = [f"{front}: {fault}" for fault in [*invalid[front], *dead(front)]]
    browser = playwright.chromium.launch(executable_path=browser_path(), args=FLAGS)
    for page in names:
        found = examine(browser, address, page)
        faults += [f"{page}: {fault}" for fault in row(page, found, invalid[page])]
    browser.close()
    return faults


def report_lighthouse(address: str, names: list[str]) -> list[str]:
    """Let Lighthouse judge some pages; return the scores that miss the goal."""
    browser, faults = browser_path() or "", []
    if not (TOOLS / "node_modules/lighthouse").exists():
        return ["Lighthouse is not installed: make site-report does"]
    print(f"\nLighthouse, median of {RUNS}, desktop:")
    for page in (name for name in names if name.startswith(JUDGED)):
        scores = median_scores(f"{address}/{page}", browser)
        told = ", ".join(f"{name} {score}" for name, score in scores.items())
        print(f"  {told}  {page}", flush=True)
        low = {name: score for name, score in scores.items() if score < SCORE}
        faults += [f"{page}: {name} {score}" for name, score in low.items()]
    return faults


def main(wanted: list[str]) -> str | int:
    """Print the report, of all pages or of those whose path holds a wanted word."""
    from playwright.sync_api import sync_playwright

    if lacking := missing():
        return lacking
    names = [name for name in pages() if not wanted or any(w in name for w in wanted)]
    with serve() as address:
        with sync_playwright() as playwright:
            faults = report_pages(playwright, address, names)
        faults += report_lighthouse(address, names)
    print("\n" + "\n".join(faults or ["Every goal is reached."]))
    return f"{len(faults)} goals are missed." if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
