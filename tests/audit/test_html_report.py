"""The page: what it holds, what a browser makes of it, and what hostile names do not make of it."""

import csv
import json
import re
import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ebomlc_dist.audit import html_report
from ebomlc_dist.audit.html_report import render, write_page
from ebomlc_dist.audit.images import ImageFiles
from ebomlc_dist.audit.summary import summarise
from ebomlc_dist.config import DataConfig
from ebomlc_dist.data.inputs.class_names import Classes
from ebomlc_dist.data.inputs.label_files import read_table
from ebomlc_dist.data.inputs.listing import list_csv
from ebomlc_dist.pages.templating import templates_of
from tests.audit.conftest import Browser
from tests.audit.support import HOSTILE, findings_of, make_world, uniform
from tests.data.support import make_dataset, write_image

IMAGES, TRUSTED, CARDS = 60, 20, 12


@contextmanager
def a_page(folder: Path, names: list[str], ids: list[str] | None = None, purity: dict | None = None):
    """A page in ``folder``, with its findings and data."""
    world = make_world(uniform(10, 0.4), num_images=IMAGES, strength=4.0)
    dataset = replace(make_dataset(IMAGES, TRUSTED, 10), class_names=names)
    ids = ids or [f"images/{row}.png" for row in range(IMAGES)]
    dataset = replace(dataset, ids=ids + [f"clean/{row}.png" for row in range(TRUSTED)])
    if purity:
        dataset = replace(dataset, provenance={"split_kind": "from_noisy"})
    with findings_of(world, folder, class_names=names, ids=ids, purity=purity) as found:
        summary = summarise(found, folder)
        path = folder / "report.html"
        write_page(found, summary, dataset, ImageFiles(DataConfig(), dataset), CARDS, path)
        yield path, found, dataset, summary


@pytest.fixture
def plain(tmp_path: Path):
    with a_page(tmp_path, [f"class {k}" for k in range(10)]) as made:
        yield made


def data_of(path: Path) -> dict:
    text = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])


def test_the_page_holds_the_most_suspicious_images_and_no_more(plain) -> None:
    path, found, dataset, _ = plain
    data = data_of(path)
    assert [card["id"] for card in data["cards"]] == [found.subject.ids[row] for row in found.order[:CARDS]]
    assert all(card["image"].startswith("data:image/png;base64,") for card in data["cards"])
    assert all(card["given"] != card["proposed"] for card in data["cards"])
    assert data["trusted"] == [[dataset.ids[IMAGES + k], int(dataset.clean_labels[k]), -1] for k in range(TRUSTED)]


def test_trusted_images_that_nobody_has_checked_are_marked_and_not_handed_on(tmp_path: Path) -> None:
    names = [f"class {k}" for k in range(10)]
    purity = {"value": 90.0, "low": 85.0, "high": 95.0, "true": None}
    with a_page(tmp_path, names, purity=purity) as (path, *_):
        assert "estimated purity 90.00 % (85.00 – 95.00)" in path.read_text(encoding="utf-8")
        assert data_of(path)["trusted"] == []
    with a_page(tmp_path, names) as (path, *_):
        assert "estimated purity" not in path.read_text(encoding="utf-8")


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    ids = [f"{HOSTILE[row % 10]}/{row}" for row in range(IMAGES)]
    with a_page(tmp_path, HOSTILE, ids) as (path, *_):
        text = path.read_text(encoding="utf-8")
        assert data_of(path)["classes"] == HOSTILE
    assert len(re.findall("<script", text)) == len(re.findall("</script>", text)) == 2
    for part in ("<img", "<svg", "onerror=alert(1)>", "\u202e", "\u2028", "\x1b"):
        assert part not in text
    assert "http" not in re.sub(r"http-equiv", "", text), "the page names no address"


def test_cards_and_figures_are_shown(plain, browser: Browser) -> None:
    path, found, _, summary = plain
    browser.open(path)
    assert len(browser.find(".card")) == CARDS
    first = browser.find(".card")[0].text
    given, proposed = (f"class {k[found.order[0]]}" for k in (found.table.given, found.proposed))
    assert f"{given} → {proposed}" in first
    assert f"{summary['noise_rate']['value']:.1f} %" in browser.find(".figures")[0].text
    assert len(browser.find(".heat tbody tr")) == 20
    assert browser.noted() == {"requests": [], "console": []}


def test_filter_sort_and_decide_by_keyboard(plain, browser: Browser) -> None:
    from selenium.webdriver import Keys
    from selenium.webdriver.support.ui import Select

    path, found, *_ = plain
    browser.open(path)
    given = int(found.table.given[found.order[0]])
    Select(browser.find("#filter-given")[0]).select_by_value(str(given))
    count = sum(int(found.table.given[row]) == given for row in found.order[:CARDS])
    assert len(browser.find(".card")) == count < CARDS
    Select(browser.find("#filter-given")[0]).select_by_value("")
    Select(browser.find("#sort")[0]).select_by_value("proposed_probability")
    shares = [float(re.search(r"→ ([\d.]+) %", card.text)[1]) for card in browser.find(".card")]
    assert shares == sorted(shares, reverse=True)
    Select(browser.find("#sort")[0]).select_by_value("rank")

    browser.driver.execute_script("document.querySelector('#download').focus()")
    browser.press(Keys.TAB)
    focused = browser.driver.switch_to.active_element
    assert "card" in focused.get_attribute("class"), "a card is the next stop after the controls"
    browser.press("a", Keys.ARROW_RIGHT, "r", "j", "o")
    decisions = [card.get_attribute("data-decision") for card in browser.find(".card")[:4]]
    assert decisions == ["accept", "reject", "other", None]
    assert browser.find("#decided")[0].text == "3"
    browser.press(Keys.ESCAPE, "u", "k", "k", "k")
    assert browser.find("#decided")[0].text == "2"
    Select(browser.find("#filter-decision")[0]).select_by_value("none")
    assert len(browser.find(".card")) == CARDS - 2


def test_decisions_outlive_the_page(plain, browser: Browser) -> None:
    path, *_ = plain
    browser.open(path)
    browser.find(".card .accept")[0].click()
    assert browser.find(".card")[0].get_attribute("data-decision") == "accept"
    # The browser stores what a page leaves a moment later, in a process of its own.
    end = time.monotonic() + 30
    browser.open(path)
    while browser.find(".card")[0].get_attribute("data-decision") is None and time.monotonic() < end:
        browser.open(path)
    assert browser.find(".card")[0].get_attribute("data-decision") == "accept"


def test_downloaded_decisions_are_what_trusted_reads(tmp_path: Path, browser: Browser) -> None:
    from selenium.webdriver.support.ui import Select

    names = ["comma, here", 'quo"te', "=formula", *HOSTILE[:2], *(f"class {k}" for k in range(5, 10))]
    ids = [f'images/{row},"x".png' for row in range(IMAGES)]
    for name in [*ids, *(f"clean/{row}.png" for row in range(TRUSTED))]:
        write_image(tmp_path / name)
    with a_page(tmp_path, names, ids) as (path, found, dataset, _):
        browser.open(path)
        cards = browser.find(".card")
        cards[0].find_element("css selector", ".accept").click()
        cards[1].find_element("css selector", ".reject").click()
        cards[2].find_element("css selector", ".other").click()
        Select(cards[2].find_element("css selector", "select")).select_by_value("1")
        browser.find("#download")[0].click()
        file = browser.downloads / "decisions.csv"
        end = time.monotonic() + 10
        # The browser makes the file before it fills it.
        while not (file.exists() and file.stat().st_size):
            assert time.monotonic() < end, "no download came"
            time.sleep(0.05)
        rows = found.order[:3].tolist()
        wanted = [int(found.proposed[rows[0]]), int(found.table.given[rows[1]]), 1]
        listing = list_csv(tmp_path.resolve(), read_table(file), Classes(names))
        assert listing.names == [*dataset.ids[IMAGES:], *(ids[row] for row in rows)]
        assert listing.labels == [*dataset.clean_labels.tolist(), *wanted]
        with file.open(newline="") as lines:
            kinds = [row["decision"] for row in csv.DictReader(lines)]
        # The given label of what was decided; of the trusted images nothing older is known.
        assert listing.old_labels == [-1] * TRUSTED + [int(found.table.given[row]) for row in rows]
        assert kinds == ["trusted"] * TRUSTED + ["accept", "reject", "other"]
        file.unlink()


def test_no_script_runs_and_nothing_is_fetched(tmp_path: Path, browser: Browser) -> None:
    ids = [f"{HOSTILE[row % 10]}/{row}" for row in range(IMAGES)]
    with a_page(tmp_path, HOSTILE, ids) as (path, *_):
        browser.open(path)
        browser.find(".card .other")[0].click()
        assert browser.noted() == {"requests": [], "console": []}
        assert fired(browser) is False
        assert "<img src=x onerror=alert(1)>" in browser.find("main")[0].text
        assert "\\u202e" in browser.find("main")[0].text


def test_with_escaping_off_they_do(tmp_path: Path, browser: Browser) -> None:
    """The control: the same names, unescaped and without the policy, are seen to fire."""
    with a_page(tmp_path, HOSTILE) as (path, found, _, summary):
        path.write_text(render(found, summary, data_of(path), escape=False), encoding="utf-8")
        browser.noted()
        with ExitStack() as stack:
            stack.callback(browser.driver.get, "about:blank")
            browser.driver.get(path.as_uri())
            assert fired(browser) is True
        assert any(url.endswith("/x") for url in browser.noted()["requests"])


def test_the_policy_stops_what_escaping_would_let_through(tmp_path: Path, browser: Browser, monkeypatch) -> None:
    """Two walls: with names as markup again, the content security policy alone keeps them from running."""
    monkeypatch.setattr(html_report, "templates_of", _without_escape)
    with a_page(tmp_path, HOSTILE) as (path, *_):
        browser.noted()
        browser.driver.get(path.as_uri())
        assert fired(browser) is False
        assert any("Content Security Policy" in line for line in browser.noted()["console"])


def test_the_page_fits_a_small_screen(plain, browser: Browser) -> None:
    path, *_ = plain
    size = browser.driver.get_window_size()
    browser.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    )
    try:
        browser.open(path)
        width = browser.driver.execute_script("return document.documentElement.scrollWidth")
        assert width <= 360
        assert len(browser.find(".card")) == CARDS
    finally:
        browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.driver.set_window_size(size["width"], size["height"])


def test_many_classes_show_those_with_the_most_errors(tmp_path: Path) -> None:
    world = make_world(uniform(40, 0.3), num_images=400, num_trusted=160, strength=5.0)
    with findings_of(world, tmp_path) as found:
        heat = html_report._heat(found)
        assert len(heat["names"]) == html_report.HEAT_CLASSES == len(heat["transition"]) == len(heat["corrected"][0])
        assert heat["all"] is False
        errors = found.noise.joint.sum(axis=0) + found.noise.joint.sum(axis=1) - 2 * np.diag(found.noise.joint)
        assert found.subject.class_names[int(errors.argmax())] in heat["names"]


def fired(browser: Browser) -> bool:
    """Whether a name's script showed a dialog, which is closed."""
    from selenium.common.exceptions import NoAlertPresentException

    seen = False
    for _ in range(20):
        try:
            browser.driver.switch_to.alert.dismiss()
            seen = True
        except NoAlertPresentException:
            if seen:
                return True
            time.sleep(0.02)
    return seen


def _without_escape(*packages, **options):
    return templates_of(*packages, **(options | {"autoescape": False}))
