"""A SLURM cluster of two nodes on this machine, with munge, state and ports of its own, gone at the end."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.support.commands import ROOT, wait_for
from tests.support.pool import free_port

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "srun")
JOB_S = 150.0
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
# Also how long a requeued job waits, in seconds; by default two minutes.
_CREDENTIAL_S = 10


def install() -> None:
    """Install what is missing, as root on a Debian machine. Raises RuntimeError where that cannot be."""
    if all(map(shutil.which, PROGRAMS)):
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise RuntimeError(f"needs {', '.join(PACKAGES)}, or root and apt-get to install them")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *PACKAGES]):
        subprocess.run(["apt-get", *words], env=environment, check=True, capture_output=True)


class Cluster:
    """Nodes ``node1`` and ``node2`` with two cores and two stand-ins for GPUs each.

    Attributes:
        folder: where everything lies.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._daemons: list[subprocess.Popen] = []
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "OMP_", "EBOMLC"))},
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PYTHONPATH": str(ROOT),
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "EBOMLC_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "-1",
        }
        for name in ("bin", "state", "devices", "runs"):
            (folder / name).mkdir()
        command = folder / "bin" / "ebomlc"
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -m ebomlc_dist.cli "$@"\n')
        command.chmod(0o755)
        self._configure()

    def start(self) -> None:
        """Start the daemons and wait until both nodes are idle."""
        folder = self.folder
        (folder / "munge.key").write_bytes(os.urandom(64))
        (folder / "munge.key").chmod(0o600)
        places = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munge.pid", "log-file": "munge.log"}
        places |= {"seed-file": "munge.seed"}
        self._daemon("munged", "--foreground", "--force", *(f"--{key}={folder / name}" for key, name in places.items()))
        wait_for("munge", (folder / "munge.socket").exists, 20.0)
        self._daemon("slurmctld", "-D", "-c", "-f", str(folder / "slurm.conf"))
        for node in ("node1", "node2"):
            self._daemon("slurmd", "-D", "-f", str(folder / "slurm.conf"), "-N", node)
        wait_for("two idle nodes", lambda: self.tell("sinfo", "-h", "-o", "%T %D").strip() == "idle 2", 60.0)

    def close(self) -> None:
        """Cancel every job and end every daemon."""
        subprocess.run(["scancel", "-u", "root"], env=self._environment, check=False, capture_output=True)
        time.sleep(1.0)
        for daemon in reversed(self._daemons):
            daemon.terminate()
        for daemon in self._daemons:
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                daemon.kill()

    def submit(self, script: str, *arguments: str, options: tuple[str, ...] = (), output: str) -> str:
        """Submit a shipped script with small overrides; the job's id. Its run goes to ``runs/<output>``."""
        words = ["sbatch", "--parsable", "--cpus-per-task=1", "--time=10", *options]
        words += [str(ROOT / "launch_configs" / "slurm" / script), *arguments]
        return self.tell(*words, EBOMLC_OUTPUT=str(self.run(output))).strip()

    def run(self, name: str) -> Path:
        return self.folder / "runs" / name

    def tell(self, *words: str, **variables: str) -> str:
        """What a command of SLURM prints."""
        ended = subprocess.run(
            words, env=self._environment | variables, cwd=self.folder, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, f"{words}: {ended.stderr}{self.log()}"
        return ended.stdout

    def job(self, job: str) -> dict[str, str]:
        """What ``scontrol show job`` says of a job."""
        words = self.tell("scontrol", "show", "job", job, "--oneliner").split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def ended(self, job: str, seconds: float = JOB_S) -> str:
        """Wait for a job to end; its state."""
        wait_for(f"the end of job {job}", lambda: self.job(job)["JobState"] in ENDED, seconds)
        return self.job(job)["JobState"]

    def log(self) -> str:
        """All that jobs have printed."""
        return "".join(f"\n==> {path.name}\n{path.read_text()}" for path in sorted(self.folder.glob("slurm-*.log")))

    def processes(self, job: str, **variables: str) -> list[int]:
        """Processes of a job whose environment has these values."""
        wanted = {f"{name}={value}".encode() for name, value in {"SLURM_JOB_ID": job, **variables}.items()}
        found = []
        for path in Path("/proc").iterdir():
            if path.name.isdigit():
                try:
                    if wanted <= set((path / "environ").read_bytes().split(b"\0")):
                        found.append(int(path.name))
                except OSError:
                    continue
        return found

    def _daemon(self, *words: str) -> None:
        with (self.folder / f"{words[0]}-{len(self._daemons)}.out").open("wb") as log:
            daemon = subprocess.Popen(words, env=self._environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self._daemons.append(daemon)

    def _configure(self) -> None:
        folder = self.folder
        for number in range(4):
            os.mknod(folder / "devices" / f"gpu{number}", 0o20666, os.makedev(1, 3))
        (folder / "gres.conf").write_text(
            f"NodeName=node1 Name=gpu File={folder}/devices/gpu[0-1]\n"
            f"NodeName=node2 Name=gpu File={folder}/devices/gpu[2-3]\n"
        )
        nodes = "".join(
            f"NodeName=node{n} NodeHostname=localhost NodeAddr=127.0.0.1 Port={free_port()} CPUs=2 RealMemory=4000 "
            "Gres=gpu:2\n"
            for n in (1, 2)
        )
        (folder / "slurm.conf").write_text(
            f"""ClusterName=test
SlurmctldHost={socket.gethostname()}(127.0.0.1)
SlurmctldPort={free_port()}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire={_CREDENTIAL_S}
CommunicationParameters=NoInAddrAny
SlurmdParameters=config_overrides
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=1,sched_interval=2
GresTypes=gpu
ReturnToService=2
KillWait=30
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
{nodes}PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
        )
