"""Visit every external link of the site and say which ones are dead.

Needs the network, so neither the tests nor CI run it. A host that turns scripts away
(as publishers behind a DOI do) is told apart from one that does not know the page.
"""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import report

SECONDS = 20  # for one answer
HEADERS = {"User-Agent": "Mozilla/5.0 (link check)", "Accept": "*/*"}
SHUT = {401, 403, 405, 406, 418, 429, 503}  # says nothing about the page


def external() -> dict[str, list[str]]:
    """Each address outside the site, without its anchor, and the pages that name it."""
    found: dict[str, list[str]] = defaultdict(list)
    for page in report.pages():
        links = report.parsed(page).links
        for link in sorted({link.partition("#")[0] for link in links}):
            if link.startswith(("http://", "https://")):
                found[link].append(page)
    return dict(sorted(found.items()))


def answer(link: str) -> str:
    """`ok`, `closed` to scripts, or in words why the link is dead."""
    request = urllib.request.Request(link, headers=HEADERS)
    try:
        with urllib.request.urlopen(request, timeout=SECONDS):
            return "ok"
    except urllib.error.HTTPError as error:
        return "closed" if error.code in SHUT else f"dead: {error.code} {error.reason}"
    except (OSError, ValueError) as error:
        return f"dead: {getattr(error, 'reason', error)}"


def main() -> str | int:
    """Print what each link answered, the dead ones with their pages."""
    links = external()
    with ThreadPoolExecutor(8) as pool:
        answers = dict(zip(links, pool.map(answer, links), strict=True))
    for link, said in answers.items():
        where = f"  on {', '.join(links[link])}" if said.startswith("dead") else ""
        print(f"{said:8} {link}{where}")
    dead = [link for link, said in answers.items() if said.startswith("dead")]
    if links and len(dead) == len(links):
        return "No link answered: is there a network? Nothing is known of the links."
    return f"{len(dead)} of {len(links)} links are dead." if dead else 0


if __name__ == "__main__":
    sys.exit(main())
