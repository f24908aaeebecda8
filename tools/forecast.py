"""Efficiency of EBOMLC's step at 8, 64 and 512 GPUs, by the model of `ebomlc_dist.profiling.forecast`: no measurement.

    python -m tools.forecast [--step-ms 3,7.4,22.7] [--network-gbit 400] [--nvlink-gbyte 450] [--latency-us 5]

Step times are inputs, in the order of the rows. The defaults: ResNet-32 the bar of 3 ms; ResNet-50 and ViT-B/16 from 7
forward passes on 32 noisy and 32 trusted images of 8.2 and 35.1 GFLOP, at an assumed 25 % and 35 % of the nominal
989 TFLOP/s of an H100. Link rates are nominal, the latency is assumed; docs/scaling.md says what others have measured.
"""

import sys
from typing import Annotated

import typer

from ebomlc_dist.cli import make_app, run_app
from ebomlc_dist.cli.output import print_table
from ebomlc_dist.errors import InputError

MODELS = {"resnet32": 10, "torchvision/resnet50": 1000, "torchvision/vit_b_16": 1000}
GPUS = (8, 64, 512)
WIDTH = 128  # of the label corrector's embedding and hidden layers, as by default

app = make_app()


@app.command()
def forecast(
    step_ms: Annotated[str, typer.Option("--step-ms", help="Of each model on one GPU.")] = "3,7.4,22.7",
    network_gbit: Annotated[float, typer.Option("--network-gbit", help="Of each GPU, one way.")] = 400.0,
    nvlink_gbyte: Annotated[float, typer.Option("--nvlink-gbyte", help="Of each GPU, one way.")] = 450.0,
    latency_us: Annotated[float, typer.Option("--latency-us", help="Of a hop, assumed.")] = 5.0,
) -> int:
    """Print the forecast."""
    from ebomlc_dist.models import build_main_model
    from ebomlc_dist.models.meta import build_meta_model
    from ebomlc_dist.models.meta_device import on_meta_device
    from ebomlc_dist.profiling.forecast import all_reduce_ms, efficiency, message_bytes
    from ebomlc_dist.profiling.scaling import Link

    try:
        times = [float(text) for text in step_ms.split(",")]
    except ValueError:
        raise InputError(f"--step-ms {step_ms}: give {len(MODELS)} numbers, such as 3,7.4,22.7") from None
    if len(times) != len(MODELS) or min(*times, network_gbit, nvlink_gbyte, latency_us) <= 0:
        raise InputError(f"--step-ms needs {len(MODELS)} numbers, and every figure must be above 0")
    inner = Link(latency_ms=latency_us / 1e3, bytes_per_ms=nvlink_gbyte * 1e6)
    outer = Link(latency_ms=latency_us / 1e3, bytes_per_ms=network_gbit / 8 * 1e6)
    rows = []
    for (name, num_classes), time in zip(MODELS.items(), times, strict=True):
        model = on_meta_device(
            lambda name=name, k=num_classes: build_main_model(name, num_classes=k, in_channels=3, norm="batch")
        )
        size = sum(parameter.numel() for parameter in model.parameters())
        widths = {"feature_dim": model.head.in_features, "embedding_dim": WIDTH, "hidden_dim": WIDTH}
        corrector = build_meta_model("label-corrector", num_classes=num_classes, **widths)
        meta = sum(parameter.numel() for parameter in corrector.parameters())
        messages = message_bytes(size, meta)
        rest = all_reduce_ms(GPUS[-1], 0, inner, outer, 8) * len(messages)
        whole = sum(all_reduce_ms(GPUS[-1], one, inner, outer, 8) for one in messages)
        shares = [f"{100 * efficiency(count, time, messages, inner, outer):.0f}" for count in GPUS]
        first = "latency" if rest > whole / 2 else "bandwidth"
        rows.append((name, f"{time:g}", f"{sum(messages) / 1e6:.1f}", *shares, first))
    print_table(["model", "step ms", "MB a step", *(f"{n} GPUs %" for n in GPUS), "breaks first at 512"], rows)
    return 0


def run(arguments: list[str]) -> int:
    """Run the tool and return the exit code."""
    return run_app(app, "tools.forecast", "`python -m tools.forecast --help`", arguments)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
