"""What the tool does once its arguments are known: in this process, or in several."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from rich.console import Console
from torch.profiler import ProfilerActivity, record_function
from torch.profiler import profile as torch_profile

from ebomlc_dist.cli.output import print_json, print_table
from ebomlc_dist.cli.profiler.measure import make_subject, measure
from ebomlc_dist.cli.profiler.measured_scaling import MODULE, measure_scaling, world_sizes
from ebomlc_dist.cli.profiler.profiled_data import RANDOM, load, names_data, random_images
from ebomlc_dist.cli.profiler.profiled_rows import Row
from ebomlc_dist.data.dataset import NoisyDataset
from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.engine.build import make_method
from ebomlc_dist.engine.preflight import check_model
from ebomlc_dist.errors import InputError
from ebomlc_dist.files.durable import write_bytes, write_json
from ebomlc_dist.gpu import on_gpu
from ebomlc_dist.launch.cores import available_cores
from ebomlc_dist.launch.processes import Processes, launch
from ebomlc_dist.profiling.clock import DeviceClock
from ebomlc_dist.profiling.profile_page import page
from ebomlc_dist.profiling.report import Report
from ebomlc_dist.profiling.rounds import Length, watch_step
from ebomlc_dist.profiling.text_tables import about, tables
from ebomlc_dist.recipes.assemble import Request

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """The tool's arguments, checked one by one."""

    request: Request
    rows: list[Row]
    rounds: int | None
    seconds: float
    at_epoch: int
    num_classes: int
    device: Literal["auto", "cpu", "cuda"]
    scaling: str
    oversubscribe: bool
    as_json: bool
    output: Path | None
    trace: Path | None
    quiet: bool


def launched(options: Options, num_processes: int, arguments: list[str]) -> int:
    """Start so many processes of this same command; one is this process itself."""
    processes = Processes(num_processes)
    processes.check(options.device)
    if num_processes == 1:
        return measured_here(options, arguments)
    if options.scaling:
        raise InputError("--scaling chooses the numbers of processes itself; leave --num-processes out")
    _refuse_early(options)
    return launch(processes, arguments, options.device, [], MODULE)


def measured_here(options: Options, arguments: list[str]) -> int:
    """Measure in this process, which may be one of several that a launcher started."""
    runtime = Runtime.start(options.rows[0].config.train, options.device)
    try:
        sizes = _sizes(options, runtime)
        _refuse_early(options)
        dataset, data = _data(options, runtime)
        with _progress(runtime.is_main and not options.quiet) as progress:
            length = Length(options.rounds, options.seconds)
            report = measure(options.rows, dataset, data, runtime, length, options.at_epoch, progress)
            if sizes:
                cores = available_cores() if runtime.device.type == "cpu" else None
                train = options.rows[0].config.train
                scaling = measure_scaling(report, sizes, cores, train, arguments, progress)
                report = report.model_copy(update={"scaling": scaling})
            if options.trace is not None:
                progress("trace")
                _trace(options, dataset, runtime, options.trace)
        if runtime.is_main:
            _hand_over(report, options)
        return 0
    finally:
        runtime.close()


def _sizes(options: Options, runtime: Runtime) -> tuple[int, ...]:
    if not options.scaling:
        return ()
    if runtime.world_size > 1:
        raise InputError("--scaling starts its own processes; start it without a launcher")
    sizes = world_sizes(options.scaling, on_gpu(runtime.device), options.oversubscribe)
    Processes(sizes[-1]).check(options.device)
    return sizes


def _refuse_early(options: Options) -> None:
    """Raise `InputError` for what can be seen before processes are started, data read, or anything is measured."""
    for row in options.rows:
        make_method(row.config)
    if not names_data(options.request):
        dataset = random_images(options.rows[0].config, options.num_classes)
        for row in options.rows:
            check_model(row.config, dataset)


def _data(options: Options, runtime: Runtime) -> tuple[NoisyDataset, str]:
    config = options.rows[0].config
    if names_data(options.request):
        return load(options.rows, runtime), config.data.dataset
    return random_images(config, options.num_classes), RANDOM


def _hand_over(report: Report, options: Options) -> None:
    if options.as_json:
        print_json(report.model_dump(mode="json"))
    else:
        print_table(["", ""], about(report))
        for table in tables(report):
            print(f"\n{table.title}: {table.note}\n")
            print_table(table.headings, table.rows)
    if options.output is not None and options.output.suffix == ".html":
        write_bytes(options.output, page(report).encode())
    elif options.output is not None:
        write_json(options.output, report.model_dump(mode="json"))


def _trace(options: Options, dataset: NoisyDataset, runtime: Runtime, path: Path) -> None:
    """One step of each row, with its phases named, of the first rank."""
    clock = DeviceClock(runtime.device)
    kernels = [ProfilerActivity.CUDA] if on_gpu(runtime.device) else []
    subjects = [make_subject(row, dataset, runtime, options.at_epoch)[1] for row in options.rows]
    for subject in subjects:
        subject.run()
    with torch_profile(activities=[ProfilerActivity.CPU, *kernels], acc_events=True) as profiler:
        for subject in subjects:
            clock.settle()
            with record_function(f"step: {subject.name}"):
                watch_step(subject, clock, annotate=True)
                clock.settle()
    if runtime.is_main:
        with TemporaryDirectory() as folder:
            written = Path(folder) / "trace.json"
            profiler.export_chrome_trace(str(written))
            write_bytes(path, written.read_bytes())


@contextmanager
def _progress(shown: bool) -> Iterator[Progress]:
    """A line that changes, on a terminal; silence elsewhere."""
    if not (shown and sys.stderr.isatty()):
        yield lambda text: None
        return
    with Console(stderr=True).status("") as status:
        yield lambda text: status.update(text)
