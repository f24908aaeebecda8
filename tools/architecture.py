"""``python -m tools.architecture``: draws the packages and who imports whom, from the source, into ``docs/images``.

A box is a package or a module of ``ebomlc_dist``; what it imports lies below it. A line that follows from two others is
left out, so that the drawing has as few lines as there can be.
"""

import ast
from collections.abc import Mapping
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = "ebomlc_dist"
DRAWING = ROOT / "docs" / "images" / "architecture.svg"
Imports = Mapping[str, frozenset[str]]
_WIDTH, _ROW, _BOX, _CHARACTER, _GAP, _MARGIN = 760, 66, 32, 8.2, 18, 20


def imports(source: Path) -> dict[str, frozenset[str]]:
    """Return part → the parts that it imports anywhere in its files, for every part of a package's folder."""
    parts = {path.stem for path in source.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    parts -= {"__init__", "__main__"}
    found: dict[str, set[str]] = {part: set() for part in parts}
    for path in source.rglob("*.py"):
        part = path.relative_to(source).parts[0].removesuffix(".py")
        if part in parts:
            found[part] |= {name for name in _imported(path, source.name) if name in parts and name != part}
    return {part: frozenset(found[part]) for part in sorted(parts)}


def _imported(path: Path, package: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            # ``from package import part`` names the part last.
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        found |= {module.split(".")[1] for module in modules if module.startswith(f"{package}.")}
    return found


def needed_lines(found: Imports) -> list[tuple[str, str]]:
    """Return the imports that do not follow from two or more others."""
    below = {part: _below(part, found) for part in found}
    return [
        (part, other)
        for part in found
        for other in sorted(found[part])
        if not any(other in below[between] for between in found[part] - {other})
    ]


def _below(part: str, found: Imports) -> set[str]:
    reached: set[str] = set()
    waiting = [part]
    while waiting:
        for other in found[waiting.pop()] - reached:
            reached.add(other)
            waiting.append(other)
    return reached


def rows(found: Imports) -> list[list[str]]:
    """Return the parts in rows, top first: each above everything that it imports. Raises `ValueError` for a circle."""
    depth: dict[str, int] = {}
    while len(depth) < len(found):
        ready = [part for part in found if part not in depth and found[part] <= depth.keys()]
        if not ready:
            raise ValueError(f"imports run in a circle among {', '.join(sorted(found.keys() - depth.keys()))}")
        depth |= {part: max((depth[other] + 1 for other in found[part]), default=0) for part in ready}
    levels = [[part for part in found if depth[part] == level] for level in range(max(depth.values()) + 1)]
    place: dict[str, float] = {}
    for level in levels:
        level.sort(key=lambda part: (_mean([place[other] for other in found[part]]), part))
        place |= {part: (n + 0.5) / len(level) for n, part in enumerate(level)}
    return levels[::-1]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.5


def drawing(found: Imports) -> str:
    """Return the SVG."""
    boxes: dict[str, tuple[float, float, float]] = {}
    levels = rows(found)
    for n, level in enumerate(levels):
        widths = [_CHARACTER * len(part) + 24 for part in level]
        gap = max(_GAP, (_WIDTH - sum(widths)) / (len(level) + 1))
        left = (_WIDTH - sum(widths) - gap * (len(level) - 1)) / 2
        for part, width in zip(level, widths, strict=True):
            boxes[part] = (left, _MARGIN + n * _ROW, width)
            left += width + gap
    height = 2 * _MARGIN + _ROW * (len(levels) - 1) + _BOX
    lines = [_line(boxes[upper], boxes[lower]) for upper, lower in needed_lines(found)]
    texts = [_box(part, *boxes[part]) for part in found]
    title = "Packages of ebomlc_dist: each imports only what lies below it"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{title}">',
            f"<title>{title}</title>",
            f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
            '<g fill="none" stroke="#8a94a6" stroke-width="1.3">',
            *lines,
            "</g>",
            '<g font-family="ui-monospace, monospace" font-size="13" text-anchor="middle">',
            *texts,
            "</g>",
            "</svg>\n",
        ]
    )


def _line(upper: tuple[float, float, float], lower: tuple[float, float, float]) -> str:
    x, y, end_x, end_y = upper[0] + upper[2] / 2, upper[1] + _BOX, lower[0] + lower[2] / 2, lower[1]
    middle = (y + end_y) / 2
    return f'<path d="M{x:.0f} {y:.0f}C{x:.0f} {middle:.0f} {end_x:.0f} {middle:.0f} {end_x:.0f} {end_y:.0f}"/>'


def _box(name: str, x: float, y: float, width: float) -> str:
    box = f'<rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{_BOX}" rx="6" fill="#eef2f8" stroke="#41506b"/>'
    return f'{box}<text x="{x + width / 2:.0f}" y="{y + 21:.0f}" fill="#1b2638">{escape(name)}</text>'


def main() -> None:
    """Write the drawing."""
    DRAWING.write_text(drawing(imports(ROOT / PACKAGE)))
    print(DRAWING.relative_to(ROOT))


if __name__ == "__main__":
    main()
