"""``ebomlc audit``: which labels of a run's data look wrong, and what they should be."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ebomlc_dist.cli.output import command_name, print_json, print_table
from ebomlc_dist.monitoring.purity import purity_text

if TYPE_CHECKING:
    from ebomlc_dist.audit.run_audit import Options
    from ebomlc_dist.engine.run_status import Stopped

_RUN = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.", show_default=False)]


def audit(
    run: _RUN,
    context: typer.Context,
    cross_fit: Annotated[
        int | None,
        typer.Option(
            "--cross-fit",
            metavar="K",
            help="Score each image by a model that was not trained on it; trains K models.",
            show_default=False,
        ),
    ] = None,
    scores: Annotated[
        Literal["auto", "confidence", "epochs", "posterior"],
        typer.Option("--scores", help="How to score labels; auto picks what works best on the trusted images."),
    ] = "auto",
    relabel: Annotated[
        Literal["auto", "corrector", "prediction", "posterior"],
        typer.Option("--relabel", help="Whose labels to propose; auto picks what works best on the trusted images."),
    ] = "auto",
    confidence: Annotated[
        float | None,
        typer.Option(
            "--confidence",
            help="Least probability of a proposed label in corrected.csv; by default what trusted images vouch for.",
            show_default=False,
        ),
    ] = None,
    gallery: Annotated[int, typer.Option("--gallery", metavar="N", help="Number of images in report.html.")] = 200,
    export: Annotated[
        list[str] | None,
        typer.Option(
            "--export",
            metavar="TOOL[,TOOL…]",
            help="Write files for imagefolder, label-studio, fiftyone or cleanlab.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option("--device", help="Where to compute.")] = "auto",
    num_processes: Annotated[
        int | None, typer.Option("--num-processes", help="Processes that share the work.", show_default=False)
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no hints.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON on stdout.")] = False,
) -> int:
    """Find the labels of a run's data that look wrong, and write tables and a page to RUN/audit."""
    from ebomlc_dist.launch.environment import die_with_launcher, under_launcher

    die_with_launcher()
    from ebomlc_dist.audit.run_audit import Options
    from ebomlc_dist.engine.load_run import finished, stored_config

    exports = tuple(dict.fromkeys(name.strip() for text in export or () for name in text.split(",")))
    options = Options(
        scores=None if scores == "auto" else scores,
        cross_fit=cross_fit,
        relabel=None if relabel == "auto" else relabel,
        confidence=confidence,
        gallery=gallery,
        exports=exports,
    )
    options.check()
    config = stored_config(finished(run))
    if num_processes is not None and not under_launcher():
        from ebomlc_dist.files.run_folder import RunFolder
        from ebomlc_dist.launch.processes import Processes, launch

        processes = Processes(num_processes)
        processes.check(device)
        if num_processes > 1:
            return launch(processes, context.find_root().obj, device, [RunFolder(run).audit])
    return _audit_here(run, options, config.train, device, quiet=quiet, as_json=json)


def _audit_here(run: Path, options: "Options", train: Any, device: str, *, quiet: bool, as_json: bool) -> int:
    from ebomlc_dist.audit.run_audit import audit as audit_one
    from ebomlc_dist.distributed.runtime import Runtime
    from ebomlc_dist.engine.run_status import Stopped

    runtime = Runtime.start(train, device)
    try:
        summary = audit_one(run, options, runtime, quiet=quiet)
        if runtime.is_main:
            print_json(summary) if as_json else print_audit(summary, hints=not quiet)
        return 0
    except Stopped as stopped:
        return _say_stopped(stopped, under_launcher=runtime.under_launcher, is_main=runtime.is_main)
    finally:
        runtime.close()


def _say_stopped(stopped: "Stopped", *, under_launcher: bool, is_main: bool) -> int:
    if is_main:
        print(f"ebomlc: stopped at step {stopped.step} ({stopped.reason}); the same command goes on", file=sys.stderr)
    return 0 if under_launcher else stopped.code


def print_audit(summary: dict[str, Any], *, hints: bool) -> None:
    """The headline figures of an audit, where its files lie, and what to do with them."""
    run = Path(summary["run"])
    print(f"{summary['conclusion']}\n{summary['relabelling']}\n")
    rows = [
        [
            "scores",
            f"{summary['scores']}, {'in-sample' if summary['in_sample'] else 'by models not trained on the image'}",
        ],
        ["estimated wrong", _estimate(summary["noise_rate"])],
        ["expected precision of the flagged labels", _estimate(summary["estimated_precision_of_flagged"])],
        ["flagged as likely mislabelled", f"{summary['num_flagged']} of {summary['num_images']}"],
        ["relabelled", _relabelled(summary)],
    ]
    if summary["trusted_purity"]:
        rows.append(["trusted images", f"chosen from the noisy ones, {purity_text(summary['trusted_purity'])}"])
    if truth := summary["truth"]:
        rows += [
            ["truth: wrong", f"{truth['noise_rate']:.2f} %"],
            *([f"truth: {name.replace('_', ' ')}", _share(truth[name])] for name in ("auroc", "average_precision")),
            *([f"truth: {name} of the flagged labels", _share(truth[name])] for name in ("precision", "recall")),
        ]
    print_table(["figure", "value"], rows)
    print(f"\naudit: {run / 'audit'}")
    if hints:
        print(f"\nopen {run / 'audit' / 'report.html'}")
        if summary["num_relabelled"]:
            print(f"next round:\n  {next_round(run)}")


def next_round(run: Path) -> str:
    """The command that trains on the corrected labels."""
    split = shlex.quote(str(run / "audit" / "corrected_split.json"))
    config = shlex.quote(str(run / "config.json"))
    return f"{command_name('ebomlc')} train --config {config} --split {split} --noise none"


def _estimate(figure: dict[str, float] | None) -> str:
    return "–" if figure is None else f"{figure['value']:.2f} % ({figure['low']:.2f} – {figure['high']:.2f})"


def _relabelled(summary: dict[str, Any]) -> str:
    if summary["confidence"] is None:
        return "none"
    return f"{summary['num_relabelled']} by {summary['relabelled_by']} at ≥ {summary['confidence']:g}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
