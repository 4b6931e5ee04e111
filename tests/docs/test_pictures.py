"""The pictures of the documentation: readable on a small screen, in both themes, and by ear."""

from __future__ import annotations

import re
from itertools import combinations
from xml.etree import ElementTree

import pytest

from snippets import DOCS

PICTURES = sorted(DOCS.glob("images/*.svg"))
SVG = "{http://www.w3.org/2000/svg}"
WIDEST = 520
SMALLEST_TEXT = 15
# A line's box is higher than its letters.
TOUCH = 2


MEASURE = """svg => {
    const toPicture = svg.getScreenCTM().inverse();
    const view = svg.viewBox.baseVal;
    const leaves = [...svg.querySelectorAll("text, tspan")].filter(each => !each.children.length);
    const box = leaf => {
        const {x, y, width, height} = leaf.getBBox();
        const matrix = toPicture.multiply(leaf.getScreenCTM());
        const corners = [[x, y], [x + width, y], [x, y + height], [x + width, y + height]].map(
            ([left, top]) => new DOMPoint(left, top).matrixTransform(matrix));
        const [xs, ys] = [corners.map(each => each.x), corners.map(each => each.y)];
        return {
            text: leaf.textContent.trim(),
            size: parseFloat(getComputedStyle(leaf).fontSize) * Math.hypot(matrix.a, matrix.b),
            left: Math.min(...xs) - view.x, right: Math.max(...xs) - view.x,
            top: Math.min(...ys) - view.y, bottom: Math.max(...ys) - view.y,
        };
    };
    return {width: view.width, height: view.height, texts: leaves.map(box)};
}"""

each_picture = pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)


@each_picture
def test_it_is_well_formed_and_says_what_it_shows(path):
    root = ElementTree.parse(path).getroot()
    assert root.tag == f"{SVG}svg"
    for name in ("title", "desc"):
        found = root.find(f"{SVG}{name}")
        assert found is not None, f"no <{name}>"
        assert (found.text or "").strip(), f"an empty <{name}>"
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    assert 0 < width <= WIDEST
    assert height > 0


@each_picture
def test_it_stands_alone(path):
    root = ElementTree.parse(path).getroot()
    tags = {each.tag.removeprefix(SVG) for each in root.iter()}
    assert not tags & {"script", "image", "foreignObject"}
    links = [value for each in root.iter() for name, value in each.items() if "href" in name]
    assert all(link.startswith("#") for link in links)


@each_picture
def test_a_page_shows_it_with_words_for_who_does_not_see_it(path):
    name = re.escape(f"images/{path.name}")
    shown = re.compile(
        rf"!\[(?P<alt>[^\]]*)\]\({name}\)|(?:image|figure)\}} {name}\n(?:.*\n)*?:alt: (?P<words>.*)"
    )
    alts = [
        match["alt"] or match["words"] or ""
        for page in DOCS.glob("*.md")
        for match in shown.finditer(page.read_text())
    ]
    assert alts, "no page shows it"
    assert all(len(alt.split()) >= 4 for alt in alts)


@pytest.fixture(scope="module")
def tab(chromium):
    with chromium.new_context() as context:
        yield context.new_page()


def problems(tab, path):
    """Return what is wrong with the texts of a picture, as a browser draws it."""
    tab.goto(path.as_uri())
    measured = tab.locator("svg").first.evaluate(MEASURE)
    texts = [each for each in measured["texts"] if each["text"]]
    found = []
    for each in texts:
        if each["size"] < SMALLEST_TEXT - 0.01:
            found.append(f"{each['text']!r} is small")
        if each["left"] < 0 or each["right"] > measured["width"]:
            found.append(f"{each['text']!r} is wider than the picture")
        if each["top"] < 0 or each["bottom"] > measured["height"]:
            found.append(f"{each['text']!r} is above or below the picture")
    for one, other in combinations(texts, 2):
        across = min(one["right"], other["right"]) - max(one["left"], other["left"])
        down = min(one["bottom"], other["bottom"]) - max(one["top"], other["top"])
        if across > TOUCH and down > TOUCH:
            found.append(f"{one['text']!r} and {other['text']!r} overlap")
    return found if texts else ["no text at all"]


@pytest.mark.browser
@each_picture
def test_its_texts_can_be_read(tab, path):
    assert problems(tab, path) == []


@pytest.mark.browser
@pytest.mark.parametrize(
    ("texts", "found"),
    [
        ('<text x="10" y="40">one</text><text x="10" y="60">two</text>', []),
        ('<text x="10" y="40">one</text><text x="9" y="45">2</text>', ["'one' and '2' overlap"]),
        ('<text x="10" y="40" font-size="14">one</text>', ["'one' is small"]),
        ('<g transform="scale(.5)"><text x="10" y="40">one</text></g>', ["'one' is small"]),
        ('<text x="190" y="40">one</text>', ["'one' is wider than the picture"]),
        ('<text x="10" y="99">jog</text>', ["'jog' is above or below the picture"]),
        ('<text transform="translate(20 20) rotate(-90)">one</text>',
         ["'one' is above or below the picture"]),
        ("", ["no text at all"]),
    ],
    ids=["good", "overlap", "small", "scaled", "wide", "low", "turned", "none"],
)  # fmt: skip
def test_what_cannot_be_read_is_found(tab, tmp_path, texts, found):
    path = tmp_path / "picture.svg"
    path.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 200 100" font-size="16"'
        f' font-family="sans-serif">{texts}</svg>'
    )
    assert problems(tab, path) == found
