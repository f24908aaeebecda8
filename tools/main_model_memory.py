"""Bytes a process holds for the main model, on paper: model × number of GPUs × strategy.

    python -m tools.main_model_memory [--json]

`ebomlc_dist.profiling.memory` states what is counted. Nothing is measured here.
"""

import sys
from typing import Annotated

import typer

from ebomlc_dist.cli import make_app, run_app
from ebomlc_dist.cli.output import print_json, print_table

MODELS = {"resnet32": 10, "torchvision/resnet50": 1000, "torchvision/vit_b_16": 1000, "torchvision/vit_h_14": 1000}
WORLD_SIZES = (1, 2, 8, 64, 512)

app = make_app()


@app.command()
def main_model_memory(
    json: Annotated[bool, typer.Option("--json", help="Bytes, as JSON.")] = False,
) -> int:
    """Print the paper count of the main model's memory a process."""
    from ebomlc_dist.models import build_main_model
    from ebomlc_dist.models.outline import outline
    from ebomlc_dist.profiling.memory import STRATEGIES, main_model_bytes

    found = []
    for name, num_classes in MODELS.items():
        model = outline(
            lambda name=name, num_classes=num_classes: build_main_model(
                name, num_classes=num_classes, in_channels=3, norm="batch"
            )
        )
        size = sum(parameter.numel() for parameter in model.parameters())
        largest = max(sum(p.numel() for p in module.parameters(recurse=False)) for module in model.modules())
        for world_size in WORLD_SIZES:
            row = {one: main_model_bytes(one, world_size, size, largest) for one in STRATEGIES}
            found.append({"model": name, "parameters": size, "gpus": world_size, **row})
    if json:
        print_json(found)
        return 0
    rows = [
        (
            row["model"],
            f"{row['parameters'] / 1e6:.2f}",
            str(row["gpus"]),
            *(f"{row[s] / 2**20:.1f}" for s in STRATEGIES),
        )
        for row in found
    ]
    print_table(["model", "M parameters", "GPUs", *(f"{one} MiB" for one in STRATEGIES)], rows)
    return 0


def run(arguments: list[str]) -> int:
    """Run the tool and return the exit code."""
    return run_app(app, "tools.main_model_memory", "`python -m tools.main_model_memory --help`", arguments)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
