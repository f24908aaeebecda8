"""The code that a rank runs, as versions that can be compared."""

import hashlib
import sys
from importlib import metadata
from pathlib import Path

PACKAGES = ("torch", "numpy", "accelerate")
SOURCES = Path(__file__).parents[1]


def code_versions() -> dict[str, str]:
    """Versions of what decides a result, and a digest of this package's own files, whatever its version says."""
    found = {name: metadata.version(name) for name in PACKAGES}
    return {"python": sys.version.split()[0], "ebomlc_dist": source_digest(SOURCES), **found}


def source_digest(folder: Path) -> str:
    """The first 12 hexadecimal digits of a SHA-256 over all Python files below ``folder``."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        data = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()} {len(data)}\n".encode() + data)
    return digest.hexdigest()[:12]
