"""A million images: everything is written, the page opens, and memory stays small."""

import resource
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ebomlc_dist.audit.files import write_corrected, write_labels, write_probabilities
from ebomlc_dist.audit.html_report import write_page
from ebomlc_dist.audit.images import ImageFiles
from ebomlc_dist.audit.rank_labels import Evidence, rank_labels
from ebomlc_dist.audit.summary import summarise
from ebomlc_dist.audit.table import score_table
from ebomlc_dist.config import DataConfig
from tests.audit.conftest import Browser
from tests.audit.support import make_cases, make_subject, make_world, uniform
from tests.data.support import make_dataset

IMAGES, CLASSES, BLOCK = 1_000_000, 100, 20_000
# The probabilities alone are 400 MB, labels and ids 100 MB: a copy of either would be seen.
MOST_BYTES = 900 * 2**20


class Peak:
    """The largest anonymous memory of this process within a block: pages of mapped files go when others need room."""

    def __enter__(self) -> "Peak":
        self.first = self.most = self._read()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._ends.wait(0.02):
            self.most = max(self.most, self._read())

    def _read(self) -> int:
        fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(fields["RssAnon"].split()[0]) * 1024

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()


@pytest.mark.slow
def test_a_million_images_stay_within_memory(tmp_path: Path, browser: Browser) -> None:
    small = make_world(uniform(CLASSES, 0.3), num_images=BLOCK, num_trusted=1000, strength=7.0)
    given = np.tile(small.given, IMAGES // BLOCK)
    began = time.monotonic()
    with Peak() as peak, score_table(given, CLASSES, tmp_path) as table:
        for begin in range(0, IMAGES, BLOCK):
            rows = np.arange(begin, begin + BLOCK)
            doubt = 1 - small.probabilities[np.arange(BLOCK), small.given]
            table.put(rows, small.probabilities, small.probabilities, doubt)
        ids = [f"class/{row:07d}.jpg" for row in range(IMAGES)]
        subject = replace(make_subject(small, ids=ids), true=np.tile(small.true, IMAGES // BLOCK))
        found = rank_labels(subject, Evidence(table, make_cases(small), small.trusted_probabilities))
        write_labels(found, tmp_path)
        write_corrected(found, tmp_path / "corrected.csv")
        write_probabilities(table, subject.class_names, False, tmp_path / "pred_probs.npz")
        summary = summarise(found, tmp_path)
        dataset = replace(
            make_dataset(num_noisy=BLOCK, num_clean=1000, num_classes=CLASSES),
            ids=ids[: BLOCK + 1000],
            noisy_index=torch.arange(IMAGES) % BLOCK,
        )
        write_page(found, summary, dataset, ImageFiles(DataConfig(), dataset), 200, tmp_path / "report.html")
    print(f"{time.monotonic() - began:.0f} s, {(peak.most - peak.first) / 2**20:.0f} MiB of own memory, "
          f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB resident at most")  # fmt: skip
    assert peak.most - peak.first < MOST_BYTES
    assert summary["num_images"] == IMAGES
    with (tmp_path / "labels.csv").open() as file:
        assert sum(1 for _ in file) == IMAGES + 1
    assert np.load(tmp_path / "pred_probs.npz")["pred_probs"].shape == (IMAGES, CLASSES)
    assert (tmp_path / "report.html").stat().st_size < 2_000_000
    browser.open(tmp_path / "report.html")
    assert len(browser.find(".card")) == 200
    assert "1\u202f000\u202f000" in browser.find(".figures")[0].text
