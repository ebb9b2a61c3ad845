"""Execute the notebooks whose key is not in the cache, in parallel, into it.

The build reads the same cache, and so do the tests: a chapter runs once.
"""

from __future__ import annotations

import copy
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")  # silent kernels

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn, JupyterCacheAbstract
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from notebooks import ROOT, notebooks, read

CACHE = ROOT / "_build" / ".jupyter_cache"
SECONDS = 120


def cached(cache: JupyterCacheAbstract, nb: nbformat.NotebookNode) -> bool:
    """Whether the cache holds an execution of this notebook under its key."""
    try:
        cache.match_cache_notebook(nb)
    except KeyError:
        return False
    return True


def fault(path: Path, nb: nbformat.NotebookNode, error: Exception | None) -> str:
    """What went wrong, with notebook and cell, or nothing."""
    for number, cell in enumerate(nb.cells, start=1):
        for output in cell.get("outputs", []):
            where = f"{path.name}, cell {number} (#{cell.get('id', '')})"
            if output.output_type == "error":
                return f"{where}: {output.ename}: {output.evalue}"
            if output.get("name") == "stderr":
                return f"{where} wrote to stderr: {output.text.strip()}"
    return f"{path.name}: {error}" if error else ""


def execute(path: Path, nb: nbformat.NotebookNode) -> tuple[float, str]:
    """Run a notebook in a kernel of its own; seconds, and the fault if any."""
    start, error = time.perf_counter(), None
    metadata = copy.deepcopy(nb.metadata)
    client = NotebookClient(
        nb,
        timeout=SECONDS,
        kernel_name="python3",
        record_timing=False,  # it would go into the cells' metadata, and change the key
        resources={"metadata": {"path": str(path.parent)}},
        skip_cells_with_tag="skip-execution",
        extra_arguments=["--log-level=ERROR"],
    )
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError) as caught:
        error = caught
    nb.metadata = metadata  # where the client wrote about its kernel
    return time.perf_counter() - start, fault(path, nb, error)


def refresh(paths: list[Path], where: Path = CACHE, workers: int = 2) -> list[str]:
    """Execute what the cache lacks and store it; return the faults."""
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    cache, faults = get_cache(where), []
    read_in = [(path, read(path.read_text("utf8"))) for path in paths]
    todo = [(path, nb) for path, nb in read_in if not cached(cache, nb)]
    with ThreadPoolExecutor(workers) as pool:
        results = pool.map(lambda item: execute(*item), todo)
        for (path, nb), (seconds, wrong) in zip(todo, results, strict=True):
            print(f"{path.name}: {seconds:.1f} s {wrong}".rstrip(), flush=True)
            if wrong:
                faults.append(wrong)
                continue
            bundle = CacheBundleIn(
                nb, str(path), data={"execution_seconds": round(seconds, 2)}
            )
            cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
    return faults


if __name__ == "__main__":
    failures = refresh([Path(name).resolve() for name in sys.argv[1:]] or notebooks())
    sys.exit("\n".join(["", *failures]) if failures else 0)
