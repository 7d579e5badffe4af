"""The page of a check and its Markdown: the failure first, the bars, and hostile text as text."""

import pytest
from markdown_it import MarkdownIt

from parity_tests.page.check import bars, cell, check_markdown, check_page, code, fenced, unseen
from parity_tests.page.render import embedded_data
from parity_tests.tests.page.conftest import HOSTILE
from parity_tests.tests.page.test_parity_page import Page

KEYS = ("port", "notes", "verdict", "rungs", "findings", "conclusion")


def test_the_page_of_a_check_shows_verdict_rung_tensor_and_cause_before_all_else(failing_check):
    text = Page(check_page(failing_check)).text
    order = ["✗ differs", "is not the same training as its model", "First divergence on the rung",
             "gradient of fc1 at [0, 1]", "dense_1: its activation is relu", "The ladder",
             "the first divergence", "What was tried", "Which weight is which",
             "What could not be seen", "Repeat it"]  # fmt: skip
    places = [text.index(words) for words in order]
    assert places == sorted(places)


def test_hostile_text_is_text_on_the_page_and_in_its_data(failing_check, tmp_path):
    html = check_page(failing_check)
    page = Page(html)
    assert page.text.count("onerror=alert(1)") >= 4
    assert [tag for tag, _ in page.tags if tag in ("img", "script")] == ["script"]
    path = tmp_path / "page.html"
    path.write_text(html)
    assert embedded_data(path)["port"] == HOSTILE


def test_a_check_that_knows_no_more_than_its_json_has_a_page(failing_check):
    least = {key: failing_check[key] for key in KEYS}
    text = Page(check_page(least)).text
    assert "The ladder" in text
    assert "Where it differs" not in text


def test_a_port_that_agrees_has_a_page_without_a_failure(failing_check):
    rungs = {
        "gradients": {"status": "pass", "text": ""},
        "loop": {"status": "not judged", "text": "the file has no loop such as fit"},
    }
    agrees = failing_check | {"verdict": "agrees", "rungs": rungs, "findings": []}
    text = Page(check_page(agrees)).text
    assert "✓ agrees" in text
    assert "not judged: the file has no loop such as fit" in text
    assert "Finding" not in text
    assert "divergence" not in Page(check_page({key: agrees[key] for key in KEYS})).text


def test_the_first_tensor_beyond_its_bound_is_marked(failing_check):
    shown = bars(failing_check["compared"])
    assert [bar["first"] for bar in shown] == [False, True, False]
    assert [bar["beyond"] for bar in shown] == [False, True, True]
    assert shown[0]["percent"] < shown[0]["bound_at"] < shown[1]["percent"]
    assert shown[2]["words"] == "beyond any bound"


def test_what_was_not_judged_is_told_with_its_reason_where_there_is_one(failing_check):
    of_names = unseen(failing_check | {"not judged": ["loop"]})
    assert of_names == ["dense_2: its kernel is transposed", "loop"]
    rest = {"not judged": {"loop": "there is none"}, "parts not judged": ["a mask"]}
    assert unseen(failing_check | rest)[1:] == ["loop: there is none", "a mask"]


def test_hypotheses_are_ranked_by_what_they_leave(failing_check):
    text = Page(check_page(failing_check)).text
    assert text.index("its activation is relu 3e-16") < text.index("dense: no bias 0.4")


@pytest.mark.parametrize(
    "text", [HOSTILE, "``` a ```` b", "`", "a | b", "x\n\n# no heading", "<b>", "[x](y)"]
)
def test_markdown_shows_any_text_letter_by_letter(text):
    markdown = MarkdownIt().enable("table")
    row = markdown.render(f"| a | b |\n|---|---|\n| {cell(text)} | {cell(text)} |\n")
    assert row.count("<td>") == row.count("<code>") == 2
    assert Page(row).text.endswith(f"{' '.join(text.split())} {' '.join(text.split())}")
    assert Page(markdown.render(code(text))).text == " ".join(text.split())
    block = markdown.render("\n".join(fenced(text)))
    assert block.count("<") == 4
    assert Page(block).text == " ".join(text.split())


def test_the_block_for_a_pull_request_names_verdict_rung_cause_and_command(failing_check):
    html = MarkdownIt().enable("table").render(check_markdown(failing_check))
    assert [tag for tag, _ in Page(html).tags if tag == "img"] == []
    for words in ("First divergence on the rung gradients", "its activation is relu",
                  "naive-parity check port.py", "dense_2: its kernel is transposed"):  # fmt: skip
        assert words in Page(html).text
