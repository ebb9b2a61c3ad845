"""Build the site with Jupyter Book, warnings being errors, and say where it is."""

from __future__ import annotations

import subprocess
import sys
import time

from notebooks import ROOT

BUILD = ROOT / "_build"
COMMAND = ["jupyter-book", "build", str(ROOT), "-W", "-n", "--keep-going", "-q"]


def main() -> str | int:
    """Run the build; after a failure the next one reads every page again."""
    start = time.perf_counter()
    if subprocess.run(COMMAND).returncode:
        # Sphinx warns of a page only when it reads it: forget what it read.
        (BUILD / ".doctrees" / "environment.pickle").unlink(missing_ok=True)
        return "The build failed; each warning above names its page."
    print(f"Built in {time.perf_counter() - start:.0f} s. Open {BUILD}/html/index.html")
    print("or run `make serve` and visit http://127.0.0.1:8000/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
