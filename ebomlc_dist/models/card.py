"""The model card: what a hub, and a person who finds the weights, needs to know."""

import re
from collections.abc import Mapping

import yaml

_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#+\-.!|~&])")


def model_card(
    *,
    title: str,
    summary: str,
    method: str,
    dataset: str,
    accuracies: Mapping[str, float],
    details: Mapping[str, object],
    license_id: str = "other",
) -> str:
    """A model card in Markdown, with the YAML front matter that hubs index.

    Every argument is shown as plain text: names that come from a user's folders cannot bring markup along.

    Args:
        title: one line.
        summary: a paragraph: what the network does and how it was trained.
        method: name of the training method.
        dataset: name of the data.
        accuracies: what was measured → test accuracy in per cent; the first one is listed first.
        details: rows of a table of settings.
        license_id: identifier of the weights' licence, such as ``apache-2.0``; ``other`` where the owner has not said.
    """
    title, method, dataset = _line(title), _line(method), _line(dataset)
    front = {
        "license": license_id,
        "library_name": "ebomlc_dist",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "noisy-labels", "label-correction", method],
        "metrics": ["accuracy"],
        "model-index": [
            {
                "name": title,
                "results": [
                    {
                        "task": {"type": "image-classification"},
                        "dataset": {"type": dataset, "name": dataset},
                        "metrics": [
                            {"type": "accuracy", "name": f"test accuracy, {name} (%)", "value": float(value)}
                            for name, value in accuracies.items()
                        ],
                    }
                ],
            }
        ],
    }
    measured = {f"test accuracy, {name}": f"{value:.2f} %" for name, value in accuracies.items()}
    sections = [
        f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---",
        f"# {_plain(title)}",
        _plain(summary),
        _table("Result", measured),
        _table("Setting", {"method": method, "data": dataset, **details}),
        "## Use",
        "```python\nfrom ebomlc_dist.models.hub import load_model\n\n"
        'model, config = load_model("path/to/this/folder")\n```',
    ]
    return "\n\n".join(sections) + "\n"


def _table(heading: str, rows: Mapping[str, object]) -> str:
    lines = [f"| {heading} | |", "|---|---|", *(f"| {_plain(key)} | {_plain(value)} |" for key, value in rows.items())]
    return "\n".join(lines)


def _plain(value: object) -> str:
    return _MARKDOWN.sub(r"\\\1", _line(value))


def _line(value: object) -> str:
    return " ".join(str(value).split())
