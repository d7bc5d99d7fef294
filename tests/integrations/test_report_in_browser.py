"""report.html in a real browser, without a screen: nothing fails, nothing is cut off."""

import contextlib
import http.server
import json
import re
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from fusewarp.integrations.keras.figures import draw_scatter, svg_uri
from fusewarp.integrations.keras.outcome import Outcome
from fusewarp.integrations.keras.page import jpeg_uri
from fusewarp.integrations.keras.report_page import Pictures, report_page
from fusewarp.integrations.keras.tasks import Task
from oracles.example_report import example_outcome, example_pictures, example_report

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason=f"none of {', '.join(BROWSERS)} is installed"),
]

LOOK = """<!DOCTYPE html><link rel="icon" href="data:,"><title>look</title>
<iframe id="frame" src="/report.html" style="width: WIDTHpx; height: 800px; border: 0"></iframe>
<pre id="found"></pre>
<script>
  const frame = document.getElementById("frame");
  frame.addEventListener("load", async () => {
    const page = frame.contentDocument, root = page.documentElement;
    await Promise.all([...page.images].map((image) => image.decode().catch(() => 0)));
    const visible = [...page.querySelectorAll("h1, h2, p, dd, figcaption, table, pre")];
    document.getElementById("found").textContent = JSON.stringify({
      title: page.title,
      width: root.clientWidth,
      scrolled_width: root.scrollWidth,
      pictures: [...page.images].map((image) => [image.naturalWidth, image.clientWidth]),
      requests: frame.contentWindow.performance.getEntriesByType("resource")
        .map((entry) => entry.name).filter((name) => !name.startsWith("data:")),
      without_height: visible.filter((element) => element.clientHeight < 8).length,
      first_font: parseFloat(frame.contentWindow.getComputedStyle(page.body).fontSize),
    });
  });
</script>"""


@contextlib.contextmanager
def served(pages):
    """Serve pages by path on this machine; yield the address and the list of what was asked."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            body = pages.get(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write((body or "").encode())

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()
            thread.join()


def look_at(page, width, profile):
    """Open a page of a window so wide, and return what a script beside it found."""
    pages = {"/report.html": page, "/look.html": LOOK.replace("WIDTH", str(width))}
    with served(pages) as (address, asked):
        command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu"]
        command += ["--enable-logging=stderr", "--v=0", "--virtual-time-budget=20000"]
        command += [f"--user-data-dir={profile}", "--window-size=1300,1000"]
        done = subprocess.run(
            [*command, "--dump-dom", f"{address}/look.html"],
            capture_output=True,
            text=True,
            timeout=120,
        )
    found = re.search(r'<pre id="found">(.+?)</pre>', done.stdout)
    assert found, done.stdout[-500:] + done.stderr[-2000:]
    values = json.loads(found.group(1).replace("&lt;", "<").replace("&gt;", ">"))
    values["console"] = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    values["asked"] = asked
    return values


def photo():
    return Image.fromarray(data.chelsea()[:200, :260])


def page_of_classes(names):
    outcome = example_outcome(names, count=4 * len(names))
    pictures = example_pictures(outcome, photo(), f"{names[0]}/IMG_{'1' * 40}.jpg")
    return report_page(example_report(outcome), Path("runs") / "first", pictures), 7


def page_of_quantities():
    rng = np.random.default_rng(0)
    values = rng.normal(40, 9, (50, 2))
    predicted = (values + rng.normal(0, 5, values.shape)).astype(np.float32)
    outcome = Outcome(Task("regression", ("age", "weight in kilograms")), predicted, values)
    pictures = Pictures(
        example_pictures(example_outcome(["a", "b"]), photo(), "a").curves,
        scatter=svg_uri(draw_scatter(*outcome.values(), outcome.task.outputs)),
        augmented=jpeg_uri(photo()),
    )
    report = example_report(outcome, train_counts={}, validation_counts={})
    return report_page(report, Path("runs") / "first", pictures), 3


PAGES = {
    "3 classes": lambda: page_of_classes(["<b>ant</b> & $bee$", "Straße 猫", "w" * 90]),
    "40 classes": lambda: page_of_classes([f"class of birds {number}" for number in range(40)]),
    "quantities": page_of_quantities,
}


@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("kind", list(PAGES))
def test_opens_without_an_error_and_fits(kind, width, tmp_path):
    page, num_pictures = PAGES[kind]()

    found = look_at(page, width, tmp_path)

    assert found["console"] == []
    assert found["requests"] == []
    assert sorted(found["asked"]) == ["/look.html", "/report.html"]
    assert found["title"] == "first: a training run of VGG16"
    assert len(found["pictures"]) == num_pictures
    assert all(natural > 0 and shown > 0 for natural, shown in found["pictures"])
    assert found["scrolled_width"] <= found["width"] <= width
    assert found["without_height"] == 0
    assert found["first_font"] == 16


def test_the_look_sees_what_is_wrong(tmp_path):
    broken = (
        "<!DOCTYPE html><title>t</title><link rel=icon href='data:,'><p style='width:900px'>wide"
        "<img src='/missing.png'><img src='data:image/png;base64,AAAA'>"
        "<script>undefinedFunction()</script>"
    )

    found = look_at(broken, 390, tmp_path)

    assert found["scrolled_width"] > found["width"]
    assert [natural for natural, _ in found["pictures"]] == [0, 0]
    assert "/missing.png" in found["asked"]
    assert len(found["requests"]) == 1
    assert any("undefinedFunction" in line for line in found["console"])
