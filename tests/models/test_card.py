"""The model card is read by programs (front matter) and by people (Markdown)."""

import re

import yaml

from ebomlc_dist.models.card import model_card

HOSTILE = "x](javascript:1)\n---\n<img onerror=1> | `cat`"


def card(name: str = "digits") -> str:
    return model_card(
        title=f"digits-cnn on {name}",
        summary="A small network.",
        method="ebomlc",
        dataset=name,
        accuracies={"last epoch": 97.253521, "best": 98.0},
        details={"noise": "uniform 40 %", "seed": 0},
        class_names=["boat", name],
        preparation=["Resize it to 8×8 pixels."],
    )


def parts(text: str) -> tuple[dict, str]:  # type: ignore[type-arg]
    empty, front, body = re.split(r"^---$", text, maxsplit=2, flags=re.MULTILINE)
    assert not empty
    return yaml.safe_load(front), body


def test_front_matter_has_what_hubs_index() -> None:
    front, body = parts(card())
    assert front["license"] == "other"
    assert {"noisy-labels", "ebomlc", "image-classification"} <= set(front["tags"])
    assert front["metrics"] == ["accuracy"]
    (result,) = front["model-index"][0]["results"]
    assert result["dataset"]["name"] == "digits"
    assert [metric["value"] for metric in result["metrics"]] == [97.25, 98.0]
    assert "| test accuracy, last epoch | 97.25 % |" in body
    assert "| noise | uniform 40 % |" in body
    assert "| 0 | boat |" in body
    assert "1. Resize it to 8×8 pixels." in body


def test_what_is_no_classifier_is_not_indexed_as_one() -> None:
    words = {"title": "corrector", "summary": "A net.", "method": "ebomlc", "dataset": "digits", "details": {}}
    front, _ = parts(model_card(**words, accuracies={}, classifies=False))  # type: ignore[arg-type]
    assert not front.keys() & {"pipeline_tag", "metrics", "model-index"}
    front, body = parts(model_card(**words, accuracies={}))  # type: ignore[arg-type]
    assert front["pipeline_tag"] == "image-classification"
    assert "test accuracy" not in body


def test_names_from_outside_stay_text() -> None:
    front, body = parts(card(HOSTILE))
    assert front["model-index"][0]["results"][0]["dataset"]["name"] == HOSTILE.replace("\n", " ")
    row = next(line for line in body.splitlines() if line.startswith("| data |"))
    assert "\\<img onerror=1\\> \\| \\`cat\\`" in row
    assert "x\\](javascript:1)" in row
    assert "<img" not in body.replace("\\<img", "")
