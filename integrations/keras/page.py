"""HTML of elements, which escape what they hold: no text of a user's can become markup."""

import base64
import io
from xml.etree import ElementTree

from PIL import Image

from .mistakes import showable

Child = ElementTree.Element | str


def tag(name: str, /, *children: Child, **attributes: str) -> ElementTree.Element:
    """Make an element of texts and elements.

    Parameters
    ----------
    name : str
    *children : str or Element
    **attributes : str
        A trailing underscore is dropped: ``class_="wide"``.
    """
    kept = {key.rstrip("_"): _text(value) for key, value in attributes.items()}
    made = ElementTree.Element(name, kept)
    for child in children:
        if not isinstance(child, str):
            made.append(child)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + _text(child)
        else:
            made.text = (made.text or "") + _text(child)
    return made


def as_html(root: ElementTree.Element) -> str:
    """Return a whole page."""
    return "<!DOCTYPE html>\n" + ElementTree.tostring(root, encoding="unicode", method="html")


def table(
    caption: str, headings: list[str], rows: list[list[str]], foot: list[str] | None = None
) -> ElementTree.Element:
    """Make a table that scrolls by itself where it is too wide; a row's first cell is its head."""
    parts = [
        tag("caption", caption),
        tag("thead", tag("tr", *(tag("th", text, scope="col") for text in headings))),
        tag("tbody", *(_row(cells) for cells in rows)),
    ]
    if foot is not None:
        parts.append(tag("tfoot", _row(foot)))
    return tag("div", tag("table", *parts), class_="scroll", tabindex="0")


def picture(uri: str, alt: str, **attributes: str) -> ElementTree.Element:
    """Make an image of a data URI."""
    return tag("img", src=uri, alt=alt, **attributes)


def jpeg_uri(image: Image.Image) -> str:
    """Return a photo as a data URI."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def _row(cells: list[str]) -> ElementTree.Element:
    return tag("tr", tag("th", cells[0], scope="row"), *(tag("td", text) for text in cells[1:]))


def _text(text: str) -> str:
    """Leave out control characters, which HTML has no way to write."""
    return "".join(c for c in showable(text) if c >= " " or c in "\n\t")
