"""How long the playground's page takes in headless Chromium: the first run from a cold cache, then every situation.

    python benchmarks/playground.py [--runs 3] [--json FILE]

Seconds of wall time, from the reader's act (a link followed, a situation chosen) to the picture of its result. It needs
chromium, ``pip install -e '.[browser]'``, and npm for Pyodide, as ``make test-browser`` does.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import json
import shutil
import statistics
import sys
import tempfile
import threading
import time
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from peers.host import describe

from minieng.playground import SITUATIONS
from minieng.save import writable
from tools import playground

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FORGET = "() => { delete document.getElementById('shown').dataset.outcomes; }"
SHOWN = "() => document.getElementById('shown').dataset.outcomes"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Nothing: the table is what is printed."""


def until_shown(page: Any, act: Any) -> float:
    begin = time.perf_counter()
    act()
    page.wait_for_function(SHOWN, timeout=120_000)
    return time.perf_counter() - begin


def one_reader(browser: Any, address: str) -> list[float]:
    """Of a reader who comes for the first time and looks at all situations: seconds for each, the first with Python's start."""
    page = browser.new_context().new_page()  # a context has a cache of its own, which is empty
    took = [until_shown(page, lambda: page.goto(f"{address}/playground.html?{SITUATIONS[0].name}"))]
    for one in SITUATIONS[1:]:
        page.evaluate(FORGET)
        took.append(until_shown(page, lambda one=one: page.select_option("#situation", one.name)))
    page.context.close()
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="readers, one after the other; medians are told (default: 3)")
    parser.add_argument("--json", type=writable, metavar="FILE", help="where to store the times (default: nowhere)")
    args = parser.parse_args()
    if CHROMIUM is None:
        parser.error("chromium is not installed")
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        playground.build(Path(folder))
        handler = functools.partial(Quiet, directory=folder)
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
            readers = [one_reader(browser, f"http://127.0.0.1:{server.server_port}") for _ in range(args.runs)]
            chromium = browser.version
            browser.close()
            server.shutdown()
    seconds = {one.name: round(statistics.median(took[i] for took in readers), 3) for i, one in enumerate(SITUATIONS)}
    first, *later = seconds.items()
    print(f"{'first run, from a cold cache: ' + first[0]:50} {first[1]:6.2f} s")
    for name, took in sorted(later, key=lambda row: -row[1]):
        print(f"{name:50} {took:6.2f} s")
    if args.json:
        report = {"command": " ".join(["python", *sys.argv]), "date": date.today().isoformat(),
                  "versions": {"chromium": chromium}, "machine": describe(),
                  "what": "seconds to the picture, medians of the readers; the first situation starts Python, from a cold cache",
                  "readers": args.runs, "seconds": seconds}  # fmt: skip
        args.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
