"""The page as text: what it says, and that no text of a user's becomes markup."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from fusewarp.integrations.keras.page import as_html, table, tag
from fusewarp.integrations.keras.report_page import Pictures, report_page
from oracles.example_report import example_outcome, example_pictures, example_report

EVIL = "</style><script>alert('x')</script><img src=\"http://evil/x.png\" onerror=alert(1)> & $a$"
VOID = {"meta", "link", "img", "br"}


class Reader(HTMLParser):
    """Keeps the tags, their attributes and the text; refuses tags that do not match."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text, self._open = [], "", []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, name, attributes):
        self.tags.append((name, dict(attributes)))
        if name not in VOID:
            self._open.append(name)

    def handle_endtag(self, name):
        assert self._open.pop() == name

    def handle_data(self, data):
        if self._open[-1:] != ["style"]:
            self.text += data

    def named(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture(scope="module")
def evil_page():
    outcome = example_outcome([EVIL, "bee", "cat"])
    pictures = example_pictures(outcome, Image.new("RGB", (40, 30)), f"{EVIL}/\udcff\x00.jpg")
    report = example_report(outcome, hyperparameters={"base": EVIL, "policy": None}, base=EVIL)
    return Reader(report_page(report, Path(f"runs/{EVIL}"), pictures))


def test_texts_of_the_user_stay_texts(evil_page):
    assert {name for name, _ in evil_page.tags}.isdisjoint({"script", "iframe", "object"})
    assert not any(key.startswith("on") for _, attributes in evil_page.tags for key in attributes)
    assert evil_page.text.count("<script>alert('x')</script>") > 5
    assert "\x00" not in evil_page.text


def test_nothing_is_requested(evil_page):
    sources = [attributes["src"] for attributes in evil_page.named("img")]
    assert len(sources) == 7
    assert all(source.startswith("data:image/") for source in sources)
    assert [link["href"] for link in evil_page.named("link")] == ["data:,"]


def test_pictures_have_words_and_tables_have_heads(evil_page):
    assert all(attributes["alt"] for attributes in evil_page.named("img"))
    assert all(attributes["scope"] in ("col", "row") for attributes in evil_page.named("th"))
    assert len(evil_page.named("caption")) == len(evil_page.named("table")) == 4


def test_says_what_a_person_wants_to_know():
    outcome = example_outcome(["ant", "bee"])
    pictures = example_pictures(outcome, Image.new("RGB", (40, 30)), "ant/1.jpg")

    text = Reader(report_page(example_report(outcome), Path("runs/my first"), pictures)).text

    right = outcome.confusion().trace()
    for words in (
        *("VGG16, single-label, 2 classes; 1,234 photos to train on, 60 for validation"),
        *("0.875", "321", "7%", "3,843", "14,714,688", "rotation_range", "python 3.11.7"),
        *("fusewarp predict 'runs/my first' photo.jpg", "Most confident mistakes", "ant/1.jpg"),
    ):
        assert words in text
    assert 0 < right < 60
    assert f"{outcome.table()[0]['precision']:.3f}" in text


def test_without_validation_and_without_photos():
    report = example_report(example_outcome(["ant", "bee"]))
    for name in ("validation", "validation_pictures", "validation_counts", "table"):
        del report[name]

    page = Reader(report_page(report, Path("run"), Pictures("data:image/png;base64,")))

    assert len(page.named("img")) == 1
    assert "on the training photos" in page.text
    assert "Confusion" not in page.text
    assert "mistakes" not in page.text


def test_elements_escape_text_and_attributes():
    html = as_html(tag("p", "a<b", tag("br"), "c&d", tag("i", "e"), "f", title='"<>'))

    assert html.endswith('<p title="&quot;<&gt;">a&lt;b<br>c&amp;d<i>e</i>f</p>')
    assert html.startswith("<!DOCTYPE html>\n")


def test_a_table_marks_its_heads():
    html = as_html(table("All", ["name", "n"], [["a", "1"]], ["mean", "2"]))

    assert re.findall(r'<th scope="(\w+)">(\w+)', html) == [
        *(("col", "name"), ("col", "n")),
        *(("row", "a"), ("row", "mean")),
    ]
