"""What ``ebomlc train`` was asked to start: the runs, their folders, and a refusal that the output folder keeps."""

import re
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ebomlc_dist.errors import InputError

_NOISE_IN_NAME = re.compile(r"-(uniform|flip)\d+")

if TYPE_CHECKING:
    from ebomlc_dist.config import NoiseConfig
    from ebomlc_dist.recipes.assemble import Resolved


@dataclass(frozen=True)
class Start:
    """What is to be trained, and where to."""

    runs: "tuple[Resolved, ...]"
    output_dir: Path | None
    resume: bool
    device: str
    audit: bool
    packed: bool = False

    def default_output(self) -> Path:
        """A folder named by time, recipe, noise where it is not the recipe's own, and seed."""
        config = self.runs[0].config
        # Runs that differ in their noise have the recipe in common.
        alike = all(run.config.noise == config.noise for run in self.runs)
        name = _plain(run_name(config.recipe, config.noise) if alike else config.recipe)
        return Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}-seed{config.seeds.seed}"

    def folders(self, output: Path) -> list[Path]:
        """One run trains into the output folder itself, several into a folder each, named by what sets them apart."""
        if len(self.runs) == 1:
            return [output]
        configs = [run.config for run in self.runs]
        parts = {
            "recipe": [_plain(config.recipe) for config in configs],
            "method": [_plain(config.method.name) for config in configs],
            "variant": [run.variant for run in self.runs],
            "seed": [f"seed{config.seeds.seed}" for config in configs],
        }
        differing = [names for names in parts.values() if len(set(names)) > 1]
        return [output / "-".join(filter(None, words)) for words in zip(*differing, strict=True)]

    def claimable_output(self) -> Path:
        """The output folder. Raises `InputError` where one run's folder cannot be had, before the first is trained."""
        from ebomlc_dist.files.run_folder import RunFolder, claim

        output = self.output_dir or self.default_output()
        folders = self.folders(output)
        for folder in {output, *folders}:
            _forget_refusal(folder)
        if len(folders) > 1 and not self.resume and any(RunFolder(folder).config.exists() for folder in folders):
            again = f"`--resume auto -o {shlex.quote(str(output))}`"
            raise InputError(
                f"{output} already holds runs; continue them with {again}, or choose another folder with -o"
            )
        for run, folder in zip(self.runs, folders, strict=True):
            claim(folder, run.config.recipe, resume=self.resume).release()
        return output


def run_name(recipe_name: str, noise: "NoiseConfig") -> str:
    """A recipe's name with the noise that is in force: a ``cifar10-uniform40`` at rate 0.2 is ``cifar10-uniform20``."""
    from ebomlc_dist.recipes import recipe

    try:
        own = recipe(recipe_name).config.noise
    except InputError:
        return recipe_name
    if noise == own:
        return recipe_name
    return f"{_NOISE_IN_NAME.sub('', recipe_name)}-{_noise_word(noise)}"


def _noise_word(noise: "NoiseConfig") -> str:
    if noise.kind in ("uniform", "flip"):
        return f"{noise.kind}{100 * noise.rate:g}"
    return f"human-{noise.human_column}" if noise.kind == "human" else f"{noise.kind.replace('none', 'no')}-noise"


def _plain(name: str) -> str:
    return "".join(c if (c.isascii() and c.isalnum()) or c in "._-" else "-" for c in name)


def record_refusal(output_dir: Path | None, line: str) -> None:
    """Under a launcher, which loses the exit code, leave it in ``status.json``, where no run lies there already."""
    from ebomlc_dist.files.durable import make_folder
    from ebomlc_dist.files.run_folder import RunFolder, write_status
    from ebomlc_dist.launch.environment import launched_rank, under_launcher

    if output_dir is None or not under_launcher() or launched_rank() != 0:
        return
    folder = RunFolder(output_dir)
    if not (folder.config.exists() or folder.status.exists() or folder.lock.exists()):
        make_folder(output_dir)
        write_status(output_dir, state="failed", reason=line, code=2)


def _forget_refusal(folder: Path) -> None:
    """Remove what a refused start left behind: it is no run that stands in the way, or that could be continued."""
    from ebomlc_dist.files.durable import remove_tree
    from ebomlc_dist.files.run_folder import RunFolder, read_status

    paths = RunFolder(folder)
    if not paths.status.exists() or paths.config.exists() or paths.checkpoints.exists():
        return
    status = read_status(folder)
    if status.state == "failed" and status.code == 2:
        paths.status.unlink()
        if paths.logs.is_dir():
            remove_tree(paths.logs)
