"""The purity of trusted images that were chosen from the noisy ones, as every result shows it."""

from collections.abc import Mapping

Figures = dict[str, float | None]


def purity_figures(estimate: Mapping[str, float | None] | None, true: float | None) -> Figures:
    """Return ``value``, ``low``, ``high`` and, where the truth is known, ``true``, in per cent, from shares in 0…1."""
    found = {name: (estimate or {}).get(name) for name in ("value", "low", "high")} | {"true": true}
    return {name: None if share is None else 100.0 * share for name, share in found.items()}


def purity_text(figures: Figures) -> str:
    """`purity_figures` in words."""
    true = "" if figures["true"] is None else f"; truly {figures['true']:.2f} %"
    if figures["value"] is None:
        return f"purity not estimated yet{true}"
    return f"estimated purity {figures['value']:.2f} % ({figures['low']:.2f} – {figures['high']:.2f}){true}"
