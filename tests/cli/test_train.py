"""``ebomlc train``: folders, order, exit codes, and what it prints."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from ebomlc_dist.cli.validation import validate
from ebomlc_dist.config import NoiseConfig, RunConfig
from ebomlc_dist.data.run_data import load_dataset
from ebomlc_dist.engine.run_status import Stopped
from ebomlc_dist.errors import InputError, TrainingFault
from ebomlc_dist.files.holder import untouched_where_refused
from ebomlc_dist.files.run_folder import RunFolder, claim, read_status, write_status
from ebomlc_dist.recipes.assemble import Request, resolve
from tests.cli.conftest import Ended, FakeEngine

METHODS = ["ebomlc-s", "ebomlc", "ce"]


def test_several_methods_train_in_order_each_in_its_folder(ebomlc: Callable[..., Ended], engine: FakeEngine) -> None:
    assert ebomlc("train", "digits", "--output", "out").code == 0
    assert engine.methods == METHODS
    assert [call["folder"] for call in engine.calls] == [Path("out", name) for name in METHODS]
    assert engine.closed == 1


def test_one_method_trains_into_the_folder_itself(ebomlc: Callable[..., Ended], engine: FakeEngine) -> None:
    assert ebomlc("train", "--method", "ce", "-o", "out").code == 0
    assert [call["folder"] for call in engine.calls] == [Path("out")]


def test_the_default_folder_is_named_by_time_recipe_and_seed(ebomlc: Callable[..., Ended], engine: FakeEngine) -> None:
    assert ebomlc("train", "digits", "--tiny", "--method", "ce", "--seed", "3").code == 0
    assert re.fullmatch(r"runs/\d{8}-\d{6}-digits-tiny-seed3", str(engine.calls[0]["folder"]))


def test_the_table_the_folders_and_commands_end_a_run(ebomlc: Callable[..., Ended], engine: FakeEngine) -> None:
    out = ebomlc("train", "-o", "my out").out
    assert out.startswith("ebomlc-s, ebomlc and ce have the highest test accuracy in the last epoch: 90.00 %.\n")
    assert re.search(r"^method +test acc\. %\nebomlc-s +90\.00\nebomlc +90\.00\nce +90\.00$", out, re.M)
    assert "run: my out/ce" in out
    commands = [line.split() for line in out.partition("next:")[2].splitlines() if line.strip()]
    # By path where the environment is not activated, as it may be here.
    assert [[Path(words[0]).name, words[1]] for words in commands] == [
        ["ebomlc", "evaluate"],
        ["ebomlc", "audit"],
        ["ebomlc", "predict"],
        ["tensorboard", "--logdir"],
    ]
    assert "'my out/ebomlc-s'" in out
    assert "next:" not in ebomlc("train", "-o", "other", "--quiet").out
    assert engine.calls[-1]["quiet"] is True


def test_json_is_one_document_on_stdout(ebomlc: Callable[..., Ended], engine: FakeEngine) -> None:
    summaries = json.loads(ebomlc("train", "-o", "out", "--json").out)
    assert [summary["method"] for summary in summaries] == METHODS


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (TrainingFault("the loss is not finite"), 1),
        (InputError("no such image"), 2),
        (Stopped(Path("out"), 7, "SIGTERM"), 75),
        (Stopped(Path("out"), 7, "SIGINT"), 130),
        (KeyboardInterrupt(), 130),
    ],
)
def test_how_a_run_ends_is_its_exit_code(
    end: BaseException, code: int, ebomlc: Callable[..., Ended], engine: FakeEngine
) -> None:
    engine.ends[0] = end
    ended = ebomlc("train", "-o", "out")
    assert ended.code == code
    assert engine.methods == METHODS[:1], "the second method must not begin"
    assert engine.closed == 1
    assert len(ended.err.splitlines()) == (0 if isinstance(end, KeyboardInterrupt) else 1)
    if isinstance(end, Stopped):
        assert "--resume auto -o out" in ended.err


def test_a_stopped_worker_ends_well_under_a_launcher(ebomlc: Callable[..., Ended], engine: FakeEngine) -> None:
    engine.ends[0], engine.under_launcher = Stopped(Path("out"), 7, "SIGTERM"), True
    assert ebomlc("train", "-o", "out").code == 0


def test_an_existing_run_is_refused_before_the_first_method_trains(
    ebomlc: Callable[..., Ended], engine: FakeEngine
) -> None:
    RunFolder(Path("out/ce")).root.mkdir(parents=True)
    RunFolder(Path("out/ce")).config.write_text("{}")
    line = ebomlc("train", "digits", "-o", "out").refused()
    assert "`--resume auto -o out`" in line
    assert engine.calls == []
    assert ebomlc("train", "digits", "-o", "out", "--resume", "auto").code == 0
    assert [call["resume"] for call in engine.calls] == [True, True, True]


@pytest.mark.parametrize("words", [["--resume"], ["--resume", "auto"], ["--resume=auto"]])
def test_resume_takes_auto_or_nothing(words: list[str], ebomlc: Callable[..., Ended], engine: FakeEngine) -> None:
    assert ebomlc("train", "-o", "out", *words, "--method", "ce").code == 0
    assert engine.calls[0]["resume"] is True
    assert "--output-dir" in ebomlc("train", *words).refused()


def test_a_refused_start_does_not_stand_in_the_way(ebomlc: Callable[..., Ended], engine: FakeEngine) -> None:
    folder = Path("out")
    folder.mkdir()
    write_status(folder, state="failed", reason="no such image", code=2)
    (folder / "logs").mkdir()
    assert ebomlc("train", "--method", "ce", "-o", "out").code == 0
    write_status(folder, state="failed", reason="the loss is not finite", code=1)
    assert "already holds" in ebomlc("train", "--method", "ce", "-o", "out").refused()


@pytest.mark.parametrize(("rank", "lines"), [("0", 1), ("1", 0)])
def test_under_a_launcher_the_first_rank_alone_speaks_and_leaves_the_code(
    rank: str, lines: int, ebomlc: Callable[..., Ended], engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("RANK", rank), ("LOCAL_RANK", rank), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    ended = ebomlc("train", "--noise-rate", "3", "-o", "out")
    assert ended.code == 2
    assert len(ended.err.splitlines()) == lines
    assert Path("out/status.json").exists() is (rank == "0")
    if rank == "0":
        assert read_status(Path("out")).code == 2


def test_a_refusal_never_replaces_the_status_of_a_run(
    ebomlc: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    Path("out").mkdir()
    write_status(Path("out"), state="finished", code=0)
    assert ebomlc("train", "--noise-rate", "3", "-o", "out").code == 2
    assert read_status(Path("out")).state == "finished"


def test_a_dry_run_writes_nothing(ebomlc: Callable[..., Ended], place: Path) -> None:
    ended = ebomlc("train", "digits:tiny", "--dry-run", "--device", "cpu")
    assert ended.code == 0
    assert "40 % asked" in ended.out
    assert "steps" in ended.out
    assert "ms a step" not in ended.out
    assert list(place.iterdir()) == []


def test_a_dry_run_takes_steps_where_it_is_asked_to(ebomlc: Callable[..., Ended], place: Path) -> None:
    ended = ebomlc("train", "digits:tiny", "--dry-run", "--time-steps", "--device", "cpu", "--method", "ce")
    assert re.search(r"^time +about .* ms a step", ended.out, re.MULTILINE)
    assert re.search(r"^memory +about [\d.]+ GiB", ended.out, re.MULTILINE)
    assert list(place.iterdir()) == []
    assert "give --dry-run too" in ebomlc("train", "digits:tiny", "--time-steps").refused()


REFUSED = {
    "data that are missing": ["folder", "--data-dir", "nowhere", "--method", "ce"],
    "a model that does not take the images": ["digits:tiny", "--method", "ce", "--model", "torchvision/vit_b_16"],
    "one of several runs": ["digits:tiny", "--method", "mlc,ce", "--set", "optim.main_optimizer=adam"],
}


@pytest.mark.parametrize("words", REFUSED.values(), ids=REFUSED)
def test_a_refused_start_leaves_no_folder(words: list[str], ebomlc: Callable[..., Ended], place: Path) -> None:
    for output in (["-o", "deep/out"], []):
        ebomlc("train", *words, "--device", "cpu", "-q", *output).refused()
        assert list(place.iterdir()) == []
    Path("empty").mkdir()
    ebomlc("train", *words, "--device", "cpu", "-q", "-o", "empty").refused()
    assert list(place.rglob("*")) == [place / "empty"]


def test_a_refusal_by_a_live_run_takes_nothing_from_it(ebomlc: Callable[..., Ended], place: Path) -> None:
    """The folder is empty when this start begins, and another one's before it is refused."""
    with untouched_where_refused([place / "out"]) as take_back, claim(place / "out", "another"):
        take_back()
        assert (place / "out" / "run.lock").exists()
    with untouched_where_refused([place / "other"]) as take_back:
        claim(place / "other", "mine").release()
        take_back()
    assert not (place / "other").exists()


def test_a_refused_start_leaves_what_was_there(ebomlc: Callable[..., Ended], place: Path) -> None:
    Path("own").mkdir()
    Path("own/notes.txt").touch()
    words = ["--device", "cpu", "--method", "ce", "-o", "own"]
    assert "holds no run" in ebomlc("train", "digits:tiny", *words).refused()
    assert sorted(place.rglob("*")) == [place / "own", place / "own/notes.txt"]


def test_a_run_that_has_ended_outlives_the_refusal_of_a_later_one(ebomlc: Callable[..., Ended], place: Path) -> None:
    words = ["--method", "ce,mlc", "--set", "optim.main_optimizer=adam", "--set", "train.trackers=[]"]
    ended = ebomlc("train", "digits:tiny", *words, "--device", "cpu", "-q", "-o", "out")
    assert ended.code == 2
    assert read_status(place / "out" / "ce").state == "finished"
    assert not (place / "out" / "mlc").exists()


def test_recipes_methods_and_seeds_are_as_many_runs_each_in_a_folder_of_its_name(
    ebomlc: Callable[..., Ended], engine: FakeEngine
) -> None:
    words = ["digits:tiny", "cifar10-uniform40:tiny", "--method", "ebomlc,ce", "--seed", "3,5", "-o", "out"]
    assert ebomlc("train", *words).code == 0
    found = [
        (str(c["folder"]), c["config"].recipe, c["config"].method.name, c["config"].seeds.seed) for c in engine.calls
    ]
    assert len(found) == len({folder for folder, *_ in found}) == 8
    for folder, recipe, method, seed in found:
        assert folder == f"out/{recipe.replace(':', '-')}-{method}-seed{seed}"
    engine.calls.clear()
    ended = ebomlc("train", "digits:tiny", "--method", "ce", "--seed", "3,5", "-o", "seeds")
    assert [str(call["folder"]) for call in engine.calls] == ["seeds/seed3", "seeds/seed5"]
    table = re.search(r"^run .*\nseed3 +90\.00.*\nseed5 +90\.00", ended.out, re.M)
    assert table, "a table of runs that share a method"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["digits", "digits"], "recipe 'digits' is asked for twice"),
        (["--seed", "1,1"], "seed '1' is asked for twice"),
        (["--seed", "1,x"], "seeds.seed = 'x'"),
        (["--packed", "--num-processes", "2"], "--packed trains all runs in one process"),
    ],
)
def test_what_cannot_be_several_runs_is_refused(words: list[str], line: str, ebomlc: Callable[..., Ended]) -> None:
    assert line in ebomlc("train", "-o", "out", "--device", "cpu", *words).refused()


@pytest.mark.parametrize("command", ["show-config", "pack"])
def test_other_commands_take_one_recipe_and_one_seed(command: str, ebomlc: Callable[..., Ended]) -> None:
    assert ebomlc(command, "digits", "cifar10-uniform40").code == 2
    assert ebomlc(command, "digits", "--seed", "1,2").code == 2


def test_a_graph_on_a_cpu_and_a_compiled_double_backward_are_refused(ebomlc: Callable[..., Ended]) -> None:
    words = ["train", "digits:tiny", "--device", "cpu", "-q"]
    assert "needs a CUDA device" in ebomlc(*words, "-o", "graph", "--method", "ebomlc", "--cuda-graph").refused()
    double = ["--method", "mlc", "--set", "method.hypergradient=double_backward", "--compile"]
    assert "does not go with mlc's double_backward" in ebomlc(*words, "-o", "compiled", *double).refused()


def test_packed_runs_end_each_for_itself(ebomlc: Callable[..., Ended]) -> None:
    """One of two is bad input: the other trains on, the line says which, the exit code tells."""
    words = ["train", "digits:tiny", "--device", "cpu", "-q", "--set", "train.trackers=[]", "--packed"]
    ended = ebomlc(*words, "--method", "ebomlc,ce", "-o", "out")
    assert ended.code == 0
    assert [read_status(Path("out") / name).state for name in ("ebomlc", "ce")] == ["finished", "finished"]
    mixed = ["--method", "mlc,ce", "--set", "optim.main_optimizer=adam", "-o", "mixed"]
    ended = ebomlc(*words, *mixed)
    assert ended.code == 2
    assert "mixed/mlc: optim.main_optimizer adam does not go with mlc" in ended.err
    assert len(ended.err.splitlines()) == 1
    assert [read_status(Path("mixed") / name).state for name in ("mlc", "ce")] == ["failed", "finished"]
    assert json.loads(ebomlc(*words, "--method", "ce", "-o", "one", "--json").out)[0]["finished"] is True


def test_a_later_runs_missing_data_are_said_before_the_first_run_is_trained(
    ebomlc: Callable[..., Ended], engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(config: RunConfig, runtime: object) -> None:
        raise InputError(f"{config.data.dataset} is not there")

    monkeypatch.setattr("ebomlc_dist.engine.preflight.load_everywhere", load)
    assert ebomlc("train", "figure-4", "-o", "out").refused() == "ebomlc: cifar100 is not there"
    assert engine.calls == []
    # One data set: its own run says what is missing.
    assert ebomlc("train", "figure-9", "-o", "other").code == 0
    assert [call["folder"].name for call in engine.calls] == [f"xi{scale}" for scale in ("0.1", "0.25", "0.5", "1")]


def test_runs_of_one_method_are_told_apart_in_the_table(ebomlc: Callable[..., Ended], engine: FakeEngine) -> None:
    lines = ebomlc("train", "figure-9:tiny", "-o", "out").out.splitlines()
    table = [line.split()[0] for line in lines[lines.index("") + 1 :] if line]
    assert table[:3] == ["run", "xi0.1", "xi0.25"]


def test_every_kind_of_data_and_noise_is_validated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []

    def load(data: object, noise: NoiseConfig, *rest: object, **options: object) -> object:
        seen.append(noise.rate)
        return load_dataset(data, noise, *rest, **options)

    monkeypatch.setattr("ebomlc_dist.cli.validation.load_dataset", load)
    validate([run.config for run in resolve(Request(recipe="figure-7:tiny"))], [], resume=False)
    assert sorted(seen) == [0.2, 0.4, 0.8]
