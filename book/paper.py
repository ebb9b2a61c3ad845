"""The book to take along, from the same notebooks as the site.

python book/paper.py pdf     # TeX and Chromium; says so where one is missing
python book/paper.py epub    # for readers that set MathML
python book/paper.py zip     # the site, to be opened without a server
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from xml.etree import ElementTree

from notebooks import ROOT
from take_along import BROWSERS, BUILD

NAME = "backpropagation-literally"
COMMAND = ["jupyter-book", "build", str(ROOT), "-W", "-n", "--keep-going", "-q"]
DEBIAN = (
    "texlive-xetex texlive-latex-recommended texlive-latex-extra "
    "texlive-fonts-recommended lmodern"
)
NEEDED = ["unicode-math.sty", "newunicodechar.sty", "latinmodern-math.otf"]
PRELOAD = re.compile(rb'<link rel="preload"[^>]*>\n')  # browsers forbid it on file://
FAULT = re.compile(r"^!.*|.*Missing character.*|.*undefined references.*", re.M)


def run(*command: str, cwd: Path = ROOT) -> str:
    """The output of a command that must succeed."""
    done = subprocess.run(
        command,
        cwd=cwd,
        encoding="utf8",
        errors="replace",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        sys.exit(f"{' '.join(command[:3])} failed:\n{done.stdout[-3000:]}")
    return done.stdout


def missing() -> str:
    """What a PDF needs and this machine lacks, or nothing."""
    tex = shutil.which("xelatex") and shutil.which("kpsewhich")
    if not tex or subprocess.run(["kpsewhich", *NEEDED], stdout=-3).returncode:
        return f"TeX (on Debian: apt install {DEBIAN})"
    return (
        "" if any(map(shutil.which, BROWSERS)) else "Chromium, which sets the figures"
    )


def pdf() -> str:
    """Set the book with TeX; three runs settle contents and references."""
    if lacking := missing():
        return f"No PDF: this machine has no {lacking}. Everything else is unharmed."
    run(*COMMAND, "--builder", "latex")
    folder = BUILD / "latex"
    for _ in range(3):
        run("xelatex", "-interaction=nonstopmode", f"{NAME}.tex", cwd=folder)
    log = (folder / f"{NAME}.log").read_text("utf8", "replace")
    if faults := FAULT.findall(log):
        sys.exit("\n".join(["TeX complains:", *dict.fromkeys(faults)]))
    target = shutil.copy2(folder / f"{NAME}.pdf", BUILD)
    pages = re.findall(r"Output written on .*?\((\d+) pages", log.replace("\n", ""))
    return f"{target}: {pages[-1]} pages"


def epub() -> str:
    """Let Sphinx make the EPUB, and read every page of it as the XML it must be."""
    run(*COMMAND, "--builder", "custom", "--custom-builder", "epub")
    made = next((BUILD / "epub").glob("*.epub"))
    target = Path(shutil.copy2(made, BUILD / f"{NAME}.epub"))
    with zipfile.ZipFile(target) as book:
        pages = [name for name in book.namelist() if name.endswith(".xhtml")]
        for name in pages:
            try:
                ElementTree.fromstring(book.read(name))
            except ElementTree.ParseError as fault:
                sys.exit(f"{name} is not well-formed XML: {fault}")
    return f"{target}: {len(pages)} files of text, all well-formed"


def zipped() -> str:
    """Put the site into one archive, the same bytes for the same site."""
    target = BUILD / f"{NAME}.zip"
    site = BUILD / "html"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for path in sorted(site.rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                inside = f"{NAME}/{path.relative_to(site).as_posix()}"
                entry = zipfile.ZipInfo(inside, (2000, 1, 1, 0, 0, 0))
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, PRELOAD.sub(b"", path.read_bytes()))
    size = target.stat().st_size / 1e6
    return f"{target}: {size:.1f} MB; unpack it and open {NAME}/index.html"


if __name__ == "__main__":
    print({"pdf": pdf, "epub": epub, "zip": zipped}[sys.argv[1]]())
