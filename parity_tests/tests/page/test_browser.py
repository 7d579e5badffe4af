"""The pages in a real browser, as people open them: on a phone and a desk, light and dark."""

import os
import shutil

import pytest
from playwright.sync_api import sync_playwright

from parity_tests.page.check import check_page

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FOUND = next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = [
    pytest.mark.skipif(FOUND is None, reason="there is no Chromium: install it to run these"),
    pytest.mark.xdist_group("browser"),  # which takes a second to start
]
WIDTHS = (375, 1280)
THEMES = ("light", "dark")
TEXTS = ("h1", "figcaption", ".facts dt", ".failure pre", "nav a", ".diff .kn", ".badge")


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium."""
    # Its sandbox needs a user other than root.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=FOUND, args=options)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def opened(browser, tmp_path_factory):
    """Open a page at a width and in a theme; return it, what it logged and what it asked for."""

    def opened(html, width=1280, theme="light"):
        path = tmp_path_factory.mktemp("page") / "page.html"
        path.write_text(html, encoding="utf-8")
        page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=theme)
        said, asked = [], []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        outside = [url for url in asked if not url.startswith("data:") and url != path.as_uri()]
        return page, said, outside

    return opened


@pytest.fixture(scope="module")
def pages(html, failing_html, failing_check):
    """The pages of a run that passed, of one that failed, and of a check."""
    return {"passed": html, "failed": failing_html, "check": check_page(failing_check)}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["passed", "failed", "check"])
def test_a_page_fits_its_width_is_silent_and_asks_nothing_of_the_network(
    opened, pages, name, width
):
    page, said, outside = opened(pages[name], width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert (said, outside) == ([], [])
    for picture in page.locator("img, .chart:visible svg").all():
        box = picture.bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= 60
    page.close()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["failed", "check"])
def test_the_first_screen_of_a_failure_names_rung_tensor_and_cause(opened, pages, name, width):
    page, *_ = opened(pages[name], width)
    section = page.locator(".failure")
    for words in ("gradients", "at [0, 1]", "explained by"):
        box = section.get_by_text(words).last.bounding_box()
        assert box is not None
        assert box["y"] + box["height"] < 800
    page.close()


@pytest.mark.parametrize("theme", THEMES)
def test_text_and_its_ground_contrast_in_both_themes(opened, pages, theme):
    page, *_ = opened(pages["failed"], theme=theme)
    for selector in TEXTS:
        assert page.locator(selector).first.evaluate(CONTRAST) >= 4.5, selector
    page.close()


def test_the_two_themes_and_the_print_differ_in_their_ground(opened, pages):
    grounds = []
    for theme in THEMES:
        page, *_ = opened(pages["check"], theme=theme)
        grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        page.emulate_media(media="print")
        grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        page.close()
    white = "rgb(255, 255, 255)"
    assert grounds == [white, white, grounds[2], white]
    assert grounds[2] != white


def test_the_print_shows_what_the_screen_folds(opened, pages):
    page, *_ = opened(pages["passed"])
    folded = page.locator("details:not([open]) table").first
    assert not folded.is_visible()
    page.emulate_media(media="print")
    assert folded.bounding_box()["height"] > 100
    page.close()


def test_a_page_that_does_not_fit_or_speaks_would_be_seen(opened):
    html = "<div style='width: 2000px'>x</div><script>console.log('hello')</script>"
    page, said, outside = opened(f"{html}<img src='http://127.0.0.1:65000/x.png'>", 375)
    assert page.evaluate("document.documentElement.scrollWidth") > 375
    assert "hello" in said
    assert outside == ["http://127.0.0.1:65000/x.png"]
    page.close()


CONTRAST = """(element) => {
  const light = (colour) => {
    const parts = colour.match(/[\\d.]+/g).slice(0, 3).map((part) => {
      const share = part / 255;
      return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  let ground = element;
  const behind = () => getComputedStyle(ground).backgroundColor;
  while (/rgba.*, 0\\)$/.test(behind())) ground = ground.parentElement;
  const two = [getComputedStyle(element).color, behind()];
  const [dark, bright] = two.map(light).sort((a, b) => a - b);
  return (bright + 0.05) / (dark + 0.05);
}"""
