"""The tool: small runs in this process, and real launches."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ebomlc_dist.cli.profiler.measured_scaling import largest_apart, world_sizes
from ebomlc_dist.cli.profiler.profiled_rows import DEFAULT_ROWS, requested_rows
from ebomlc_dist.errors import InputError
from ebomlc_dist.methods import METHODS
from ebomlc_dist.pages.charts import TextTable
from ebomlc_dist.profiling.phases import PHASES
from ebomlc_dist.profiling.profile_page import page
from ebomlc_dist.profiling.quartiles import Quartiles
from ebomlc_dist.profiling.report import Report
from ebomlc_dist.profiling.scaling import Link, Model, Scaling, scale
from ebomlc_dist.profiling.text_tables import tables
from ebomlc_dist.recipes.assemble import Request
from tests.support.commands import ACCELERATE, CONFIGS, ROOT, command
from tools.profile.__main__ import run

SMALL = (
    *("--model", "resnet8", "--image-size", "8", "--rounds", "3"),
    *("--global-noisy-batch-size", "8", "--global-clean-batch-size", "4"),
)
Tool = Callable[..., tuple[int, str, str]]


@pytest.fixture
def tool(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Tool:
    """The tool with these arguments: exit code, stdout, stderr."""
    # Not the test process, which only plays the worker.
    monkeypatch.setattr("ebomlc_dist.launch.environment.die_with_launcher", lambda: None)

    def started(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(list(arguments))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return started


@pytest.fixture(scope="module")
def report_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small report of three rows."""
    path = tmp_path_factory.mktemp("profile") / "report.json"
    # The phases of three steps, of which the middle one counts: a busy machine may halt one of them between two marks.
    rows = "ebomlc,mlc:double_backward,ce"
    assert run([*SMALL, "--method", rows, "--rounds", "7", "-o", str(path), "--quiet"]) == 0
    return path


@pytest.fixture
def report(report_file: Path) -> Report:
    return Report.model_validate_json(report_file.read_bytes())


def test_a_report_is_whole(report: Report) -> None:
    assert [row.name for row in report.rows] == ["ebomlc", "mlc:double_backward", "ce"]
    assert report.rows[1].settings == {"method.hypergradient": "double_backward"}
    assert report.rounds == 7
    assert (report.setting.model, report.setting.image, report.setting.world_size) == ("resnet8", (3, 8, 8), 1)
    assert [comparison.base for comparison in report.comparisons] == ["ebomlc", "ebomlc"]
    assert min(report.ceiling.values()) > 0
    for row in report.rows:
        assert len(row.rounds_ms) == 7
        assert 0 < row.step_ms.low <= row.step_ms.median <= row.step_ms.high
        assert set(row.phases) == set(PHASES)
        assert row.phases["data"].median > 0
        assert row.phases_over_step.median == pytest.approx(1, abs=0.05)
        assert row.images_per_second.median == pytest.approx(8000 / row.step_ms.median)
        assert row.ceiling_share.median == pytest.approx(
            row.flops / row.step_ms.median / max(report.ceiling.values()) * 1000
        )
        assert (row.waits, row.collectives, row.exposed_ms.median) == (0, 0, 0)
    ebomlc, mlc, ce = report.rows
    assert ce.units == pytest.approx(3, rel=0.02)
    assert ce.launches < ebomlc.launches < mlc.launches
    assert ce.peak_mib < mlc.peak_mib


def test_the_document_goes_through_json(report: Report, report_file: Path) -> None:
    assert Report.model_validate_json(report.model_dump_json()) == report
    document = json.loads(report_file.read_text())
    assert document["schema_version"] == 1
    schema = Report.model_json_schema()
    assert set(schema["properties"]) == set(document)
    with pytest.raises(ValueError, match="Extra inputs"):
        Report.model_validate(document | {"surplus": 1})


class _Resources(HTMLParser):
    """Everything by which a page could reach for something outside."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [tag] if tag in ("script", "link", "img", "iframe", "object", "embed", "base") else []
        self.found += [name for name, _ in attrs if name in ("src", "href", "srcset", "action", "style")]


def reaching(text: str) -> list[str]:
    parser = _Resources()
    parser.feed(text)
    return parser.found + re.findall(r"https?:|url\(|@import", text)


def test_the_page_needs_nothing_else_and_escapes_names(report: Report) -> None:
    evil = "<script src=//x>"
    renamed = report.model_copy(update={"rows": (report.rows[0].model_copy(update={"name": evil}), *report.rows[1:])})
    text = page(renamed)
    assert reaching(text) == []
    assert evil not in text
    assert "&lt;script" in text
    assert text.count("<svg") == 3 + 3 + 2
    assert all(reaching(bad) for bad in ("<img src='a'>", "<p>url(x)</p>")), "the check sees nothing"


def test_the_terminal_gets_tables(tool: Tool, tmp_path: Path) -> None:
    trace, html = tmp_path / "trace.json", tmp_path / "report.html"
    code, out, _ = tool(*SMALL, "--method", "ebomlc,ce", "--trace", str(trace), "--output", str(html))
    assert code == 0
    for text in ("ms a step", "time / ebomlc", "look-ahead", "launches", "% of ceiling"):
        assert text in out
    names = {event.get("name") for event in json.loads(trace.read_text())["traceEvents"]}
    assert {"step: ebomlc", "step: ce", "phase: lower", "phase: meta", "phase: optimiser"} <= names
    assert "<svg" in html.read_text()


def test_json_is_all_of_stdout(tool: Tool) -> None:
    code, out, _ = tool(*SMALL, "--method", "ce", "--json", "--precision", "bf16", "--num-classes", "3")
    assert code == 0
    report = Report.model_validate_json(out)
    assert (report.setting.precision, report.setting.num_classes, report.comparisons) == ("bf16", 3, ())


def test_more_classes_than_images_of_a_batch(tool: Tool) -> None:
    code, out, err = tool(*SMALL, "--method", "ce", "--json", "--num-classes", "40")
    assert code == 0, err
    assert Report.model_validate_json(out).setting.num_classes == 40


def test_the_steps_of_a_later_epoch_are_measured(tool: Tool) -> None:
    """DivideMix warms up by cross entropy for ten epochs, and then does several times the work."""
    units = []
    for epoch in ("0", "10"):
        code, out, _ = tool(*SMALL, "--method", "dividemix", "--at-epoch", epoch, "--json")
        assert code == 0
        units.append(Report.model_validate_json(out).rows[0].units)
    assert units[1] > 2 * units[0]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--method", "eboml"], "did you mean 'ebomlc'"),
        (["--method", "mlc:backwards"], "forward_mode"),
        (["--method", "mlc:lokahead=2"], "unknown key 'method.lokahead'"),
        (["--method", "ce,ce"], "asked for twice"),
        (["--set", "method.hypergradient=forward_mode", "--method", "ce"], "unknown key"),
        (["--model", "resnet9"], "unknown model"),
        (["--rounds", "2"], "--rounds 2"),
        (["--seconds", "0"], "--seconds 0"),
        (["--at-epoch", "-1"], "--at-epoch -1"),
        (["--num-classes", "1"], "--num-classes 1"),
        (["--output", "report.pdf"], ".html or .json"),
        (["--output", "no/such/folder/report.html"], "folder"),
        (["--scaling", "1,x"], "--scaling 1,x"),
        (["--scaling", "1"], "no scaling"),
        (["--scaling", "2", "--num-processes", "2"], "leave --num-processes out"),
        (["--oversubscribe"], "give --scaling"),
        (["--model", "resnet9", "--num-processes", "2"], "unknown model"),
        (["--no-such-flag"], "No such option"),
    ],
    ids=" ".join,
)
def test_bad_input_is_one_line_and_code_2(arguments: list[str], text: str, tool: Tool) -> None:
    code, out, err = tool(*arguments)
    assert code == 2
    assert out == ""
    assert len(err.splitlines()) == 1, err
    assert text in err


def test_more_processes_than_cores_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ebomlc_dist.cli.profiler.measured_scaling.available_cores", lambda: 2)
    assert world_sizes("2", on_gpu=False) == (1, 2)
    with pytest.raises(InputError, match=r"4 processes would share 2 core.*--oversubscribe"):
        world_sizes("1,4", on_gpu=False)
    assert world_sizes("1,4", on_gpu=False, oversubscribe=True) == (1, 4)
    assert world_sizes("4", on_gpu=True) == (1, 4)


@pytest.mark.parametrize(
    ("sizes", "cores", "of"), [((1, 2, 4), 2, 2), ((1, 2, 4), None, 4), ((1, 4, 8), 2, 4)], ids=str
)
def test_the_link_is_measured_where_processes_have_their_own_cores(
    sizes: tuple[int, ...], cores: int | None, of: int
) -> None:
    assert largest_apart(sizes, cores) == of


def test_rows_of_shared_cores_say_so(report: Report) -> None:
    """100 ms alone; on two cores two processes take 50 ms each and four 60 ms."""
    times = {1: 100.0, 2: 50.0, 4: 60.0}
    measured = {("strong", size): Quartiles(median=ms, low=ms, high=ms) for size, ms in times.items()}
    measured |= {("weak", 1): measured["strong", 1]}
    model = Model.of({50: 50.0, 100: 100.0}, 3, 3 * 2**20, Link(latency_ms=0.0, bytes_per_ms=1e30))
    row = scale("ebomlc", 100, model, measured, (1, 2, 4, 8))

    def shown(cores: int | None) -> TextTable:
        scaling = Scaling(world_sizes=(1, 2, 4), threads=1, rows=(row,), cores=cores)
        return tables(report.model_copy(update={"scaling": scaling}))[-1]

    place = dict(zip(shown(2).headings, range(9), strict=True))
    columns = [place[name] for name in ("processes", "images/s", "measured efficiency %", "MiB reduced a step")]
    assert [[line[column] for column in columns] for line in shown(2).rows[:4]] == [
        ["1", "1000", "100", "–"],
        ["2", "2000", "100", "3.00"],
        ["4 on 2 cores", "1667", "42", "3.00"],
        ["8", "–", "–", "3.00"],
    ]
    assert "2/N of it is the most" in shown(2).note
    for cores in (4, None):
        assert shown(cores).rows[2][place["processes"]] == "4"
        assert "is the most" not in shown(cores).note


def test_rows_are_run_configurations() -> None:
    rows = requested_rows(Request())
    assert tuple(row.name for row in rows) == DEFAULT_ROWS
    assert [getattr(row.config.method, "hypergradient", None) for row in rows[1:4]] == [
        "double_backward",
        "forward_mode",
        "finite_difference",
    ]
    assert {row.config.train.global_noisy_batch_size for row in rows} == {100}
    (row,) = requested_rows(Request(methods=("mlc-d:inner_steps=2:train.precision=bf16",)))
    assert (row.config.method.model_dump()["inner_steps"], row.config.train.precision) == (2, "bf16")
    assert [row.name for row in requested_rows(Request(methods=tuple(METHODS)))] == list(METHODS)


@pytest.mark.process
def test_accelerate_launch_starts_it(tmp_path: Path) -> None:
    """Two processes, three reductions a step."""
    output = tmp_path / "report.json"
    launcher = [*ACCELERATE, "--config_file", str(CONFIGS / "cpu_2_processes.yaml"), "-m", "tools.profile"]
    with command([*launcher, *SMALL, "--method", "ebomlc", "--output", str(output)], ROOT) as started:
        code, out, err = started.wait()
    assert code == 0, err
    assert out.count("Work, memory, communication") == 1, "spoken by more than one rank"
    report = Report.model_validate_json(output.read_bytes())
    (row,) = report.rows
    assert (report.setting.world_size, row.collectives) == (2, 3)
    assert row.collective_bytes > 0
    assert report.link is not None
    assert report.link.bytes_per_ms > 0


@pytest.mark.slow
def test_scaling_measures_and_extrapolates(tmp_path: Path) -> None:
    output = tmp_path / "report.json"
    words = ["-m", "tools.profile", *SMALL, "--method", "ebomlc,ce", "--scaling", "1,2,4", "--oversubscribe"]
    with command([*ACCELERATE[:1], *words, "--output", str(output)], ROOT) as started:
        code, out, err = started.wait(900)
    assert code == 0, err
    assert "Scaling of ebomlc" in out
    report = Report.model_validate_json(output.read_bytes())
    assert report.scaling is not None
    assert [row.name for row in report.scaling.rows] == ["ebomlc", "ce"]
    for row in report.scaling.rows:
        measured = {(point.mode, point.world_size) for point in row.points if point.measured_ms is not None}
        assert measured == {(mode, size) for mode in ("strong", "weak") for size in (1, 2, 4)}
        assert {point.world_size for point in row.points} >= {1, 2, 4, 64}
    assert reaching(page(report)) == []
