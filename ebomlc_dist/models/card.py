"""The model card: what hubs and users of the weights need to know."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import yaml

# What Markdown reads within a line; nothing from outside begins one.
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|~&])")
_LISTED = 200
"""Classes that a card lists; of more it names the file that holds them."""

TASKS = {"images": "image-classification", "features": "tabular-classification"}
"""As hubs name them."""
CLASSIFIER_USE = """import torch
from ebomlc_dist.models.hub import load_model

model, config = load_model("path/to/this/folder")
mean, std = (torch.tensor(config["preprocessing"][key])[:, None, None] for key in ("mean", "std"))
logits, features = model((images - mean) / std)  # images: (N, C, H, W) float32 in 0…1
names = [config["class_names"][label] for label in logits.argmax(dim=1).tolist()]"""
FEATURES_USE = """import torch
from ebomlc_dist.models.hub import load_model

model, config = load_model("path/to/this/folder")
mean, std = (torch.tensor(config["preprocessing"][key]) for key in ("mean", "std"))
logits, _ = model((features - mean) / std)  # features: (N, D) float32
names = [config["class_names"][label] for label in logits.argmax(dim=1).tolist()]"""
OTHER_USE = """from ebomlc_dist.models.hub import load_model

model, config = load_model("path/to/this/folder")"""


def model_card(
    *,
    title: str,
    summary: str,
    method: str,
    dataset: str,
    accuracies: Mapping[str, float],
    details: Mapping[str, object],
    class_names: Sequence[str] = (),
    preparation: Sequence[str] = (),
    use: str = CLASSIFIER_USE,
    classifies: bool = True,
    license_id: str = "other",
    inputs: Literal["images", "features"] = "images",
) -> str:
    """Return a model card in Markdown, with the YAML front matter that hubs index.

    Every argument is shown as plain text: names that come from a user's folders cannot bring markup along.

    Args:
        title: one line.
        summary: a paragraph: what the network does and how it was trained.
        method: name of the training method.
        dataset: name of the data.
        accuracies: what was measured → test accuracy in per cent; the first one is listed first. May be empty.
        details: rows of a table of settings.
        class_names: in label order; listed with their numbers.
        preparation: what is done to an input before the network sees it, a sentence for each step.
        use: Python that loads the network.
        classifies: whether it gives classes, as hubs index it.
        inputs: what it takes.
        license_id: identifier of the weights' licence, such as ``apache-2.0``; ``other`` where the owner has not said.
    """
    title, method, dataset = _line(title), _line(method), _line(dataset)
    front = yaml.safe_dump(
        _front(title, method, dataset, accuracies, license_id, task=TASKS[inputs] if classifies else None),
        sort_keys=False,
        allow_unicode=True,
    )
    sections = [f"---\n{front}---", f"# {_plain(title)}", _plain(summary)]
    if accuracies:
        sections.append(
            _table("Result", {f"test accuracy, {name}": f"{value:.2f} %" for name, value in accuracies.items()})
        )
    sections.append(_table("Training", {"method": method, "data": dataset, **details}))
    if class_names:
        sections += ["## Classes", _classes(class_names)]
    if preparation:
        sections += [
            f"## {inputs.capitalize()}",
            "\n".join(f"{n}. {_plain(step)}" for n, step in enumerate(preparation, start=1)),
        ]
    sections += ["## Use", f"```python\n{use}\n```"]
    return "\n\n".join(sections) + "\n"


def _front(
    title: str, method: str, dataset: str, accuracies: Mapping[str, float], license_id: str, *, task: str | None
) -> dict[str, Any]:
    tags = ["noisy-labels", "label-correction", method]
    front: dict[str, Any] = {"license": license_id, "library_name": "ebomlc_dist"}
    if task is not None:
        front |= {"pipeline_tag": task, "tags": [task, *tags]}
    else:
        front["tags"] = tags
    if not accuracies:
        return front
    metrics = [
        {"type": "accuracy", "name": f"test accuracy, {name} (%)", "value": round(float(value), 2)}
        for name, value in accuracies.items()
    ]
    result = {
        "task": {"type": task},
        "dataset": {"type": dataset, "name": dataset},
        "metrics": metrics,
    }
    return front | {"metrics": ["accuracy"], "model-index": [{"name": title, "results": [result]}]}


def _classes(names: Sequence[str]) -> str:
    if len(names) > _LISTED:
        return f"{len(names)} classes, listed in `config.json` as `class_names`."
    return _table("number", dict(enumerate(names)), "class")


def _table(heading: str, rows: Mapping[Any, object], second: str = "") -> str:
    lines = [f"| {_plain(key)} | {_plain(value)} |" for key, value in rows.items()]
    return "\n".join([f"| {heading} | {second} |", "|---|---|", *lines])


def _plain(value: object) -> str:
    return _MARKDOWN.sub(r"\\\1", _line(value))


def _line(value: object) -> str:
    return " ".join(str(value).split())
