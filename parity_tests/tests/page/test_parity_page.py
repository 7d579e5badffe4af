"""The page of a run: the run's figures, its failures first, and hostile text as text."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from parity_tests.ladder.compare import Record
from parity_tests.page.parity import RESULTS, TRAPS, in_words, parity_page
from parity_tests.page.render import bar, embedded_data, finite
from parity_tests.page.series import Series, trained
from parity_tests.page.twins import highlighted, twins
from parity_tests.tests.page.conftest import HOSTILE, STEPS, Trained
from parity_tests.tests.test_house import ROOT


class Page(HTMLParser):
    """The text of a page and the tags in it."""

    def __init__(self, html):
        super().__init__()
        self.text, self.tags, self.open = "", [], []
        self.feed(html)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.text += f" {data}"


@pytest.fixture
def page(html):
    return Page(html)


def test_the_page_of_a_run_holds_its_figures(page):
    assert "The same training on every rung: 123 tests passed." in page.text
    for figure in ("11,000,011", "20 of 20", "1/3 of its bound", "A CPU, 3 cores",
                   "torch 2.14.1", "0123456789ab", "2026-01-02 03:04 UTC"):  # fmt: skip
        assert figure in page.text


def test_the_page_shows_the_measured_traps_and_the_measured_speed(page):
    matrix = json.loads(TRAPS.read_text())
    silent = sum(trap["silent"] for trap in matrix["traps"])
    assert f"accuracy alone would have let {silent} through" in page.text
    assert all(trap["mistake"] in page.text for trap in matrix["traps"])
    speed = json.loads((RESULTS / "benchmark.json").read_text())
    for name, row in speed["steps"]["128"].items():
        assert f"{row['ratio']:.2f}" in page.text or name == "torch_port"


def test_every_picture_has_a_size_and_a_text_in_its_place(page):
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == 4 * 9
    assert all(p["alt"] and p["width"] == p["height"] == "84" for p in pictures)
    charts = [attributes for _, attributes in page.tags if attributes.get("role") == "img"]
    assert len(charts) == 2 + 3
    assert all(len(chart["aria-label"]) > 30 for chart in charts)


def test_a_page_is_one_file_below_3_megabytes_that_names_no_other(html):
    assert len(html.encode()) < 3_000_000
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', html)
    assert "@import" not in html
    assert "url(" not in html.replace("url(#", "")


def test_the_data_of_a_page_can_be_taken_out_again(run, html, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(html)
    assert embedded_data(path) == json.loads(json.dumps(finite(run)))
    path.write_text("<p>nothing")
    with pytest.raises(ValueError, match="holds no data"):
        embedded_data(path)


def test_a_failing_run_shows_the_first_failure_and_its_cause_before_all_else(failing_html):
    text = Page(failing_html).text
    order = ["Not the same training, first on the rung gradients: 2 of 125 tests", "Rung gradients",
             "gradient layers.0.W at seed 0, batch of 128", "softmax twice", "numbers compared",
             "The tests that failed", "The ladder"]  # fmt: skip
    places = [text.index(words) for words in order]
    assert places == sorted(places)


def test_what_a_port_says_is_text_and_never_markup(failing_html, tmp_path):
    page = Page(failing_html)
    assert " ".join(HOSTILE.split()) in page.text
    assert ("img", {"src": "x", "onerror": "alert(1)"}) not in page.tags
    path = tmp_path / "page.html"
    path.write_text(failing_html)
    assert embedded_data(path)["failures"][1]["message"] == HOSTILE


def test_a_run_of_some_rungs_does_not_claim_the_whole(run):
    some = run | {"records": run["records"][:3], "series": {}, "trained": None}
    text = Page(parity_page(some)).text
    assert "What was compared agrees: 123 tests passed, but not every rung was climbed." in text
    assert "not climbed in this run" in text


def test_a_run_whose_numbers_are_not_finite_has_a_page(run):
    record = run["records"][4] | {"error": float("inf"), "headroom": 0.0}
    curve = {"tensor": "W", "share": float("nan"), "difference": [float("nan")], "bound": [1.0]}
    series = {"float32": {"losses": {}, "differences": {"loss": curve}}}
    text = Page(parity_page(run | {"records": [record], "series": series})).text
    assert "beyond its bound" in text


def test_a_share_of_a_bound_is_told_in_words_and_by_a_bar():
    assert [in_words(x) for x in (np.inf, 4100, 2.9, 1, 0.5)] == [
        "equal", "1/4,100 of its bound", "1/2.9 of its bound", "its whole bound",
        "beyond its bound",
    ]  # fmt: skip
    assert [bar(x) for x in (0, 1e-9, 0.01, 1, 7)] == [0, 2, 50, 100, 100]


def test_a_curve_shows_the_step_nearest_to_its_bound_of_the_tensor_nearest_to_it(series):
    curves = series.as_json()["differences"]
    assert curves["gradient"]["tensor"] == "layers.0.W"
    assert set(curves["gradient"]["difference"]) == {1.4e-5}  # 7e-6 over a scale of 0.5
    assert len(curves["loss"]["bound"]) == -(-STEPS // 10)
    assert curves["weights"]["difference"] == [1e-8, 1e-8]
    assert len(series.as_json()["losses"]["port"]) == STEPS


def test_the_series_keep_nothing_of_other_rungs_and_nothing_of_the_oracle_alone():
    series = Series("another rung")
    for rung, arrays in (("ten epochs", {"port": 0}), ("another rung", {"oracle": 0})):
        series(Record(rung, "loss", "float32", ""), np.array([1e-7]), 1e-7, 1e-6, 1.0, arrays)
    assert series.as_json() == {"losses": {}, "differences": {}}


def test_images_on_which_the_two_disagree_come_first(pair, initial):
    reference, port = pair
    probabilities = reference.probabilities.copy()
    probabilities[7] = np.roll(probabilities[7], 1)
    images, labels = np.zeros((20, 784)), np.zeros(20, int)
    shown = trained(reference, Trained(port.kept, probabilities), initial, images, labels)
    assert [image["index"] for image in shown["images"] if image["disagree"]] == [7]
    assert shown["images"][0]["index"] == 7
    assert shown["labels"] == {"compared": 20, "equal": 19}


def test_the_twins_are_shown_with_every_line_that_differs():
    shown = {twin["name"]: twin for twin in twins(ROOT)}
    assert shown["__init__.py"]["hunks"] == []
    rows = [row for hunk in shown["losses.py"]["hunks"] for row in hunk]
    lines = "".join(row["right"][1] for row in rows if row["right"] and not row["equal"])
    assert "cross_entropy" in lines
    assert highlighted('x = "<b>"')[0].count("&lt;b&gt;") == 1
