#!/usr/bin/env python3
"""Looks at the page of `ingot inspect --html` in headless Chromium: what is on it, light and dark.

    tests/interop/html_page.py [--ingot build/ingot] [--out build/html] [--chromium chromium]

Needs a Chromium of any name. Screenshots and the pages are left in the folder of --out.
"""
import argparse
import html
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from checks import CHECKPOINT, ROOT, Checks, Ingot

NAMES = ["chromium", "chromium-headless-shell", "chromium-browser", "google-chrome"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ingot", default=str(ROOT / "build" / "ingot"))
    parser.add_argument("--out", default=str(ROOT / "build" / "html"))
    parser.add_argument("--chromium", default=next((name for name in NAMES if shutil.which(name)), None))
    options = parser.parse_args()
    if not options.chromium:
        sys.exit("no Chromium is installed")
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    ingot, check = Ingot(options.ingot), Checks()

    def chromium(*arguments):
        with tempfile.TemporaryDirectory() as profile:
            return subprocess.run([options.chromium, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}",
                                   "--enable-logging=stderr", "--virtual-time-budget=4000", *arguments],
                                  capture_output=True, text=True, timeout=300)

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        model, reference = folder / "model.gguf", folder / "model-F32.gguf"
        ingot.run("convert", CHECKPOINT, "-t", "Q4_K_M", "-o", model)
        ingot.run("convert", CHECKPOINT, "-t", "F32", "-o", reference)
        # What could end the script or become markup, if it were not escaped.
        hostile = "</script><script>document.title='hit'</script><!-- <b>bold</b>"
        ingot.run("edit", model, "--set", f"general.description={hostile}")
        page = out / "model.html"
        ingot.run("inspect", model, "--html", page, "--histograms", "--reference", reference, "--force")
        report = ingot.json("inspect", model)
        text = page.read_text()
        check("the page names no other address", not re.search(r"(?:src|href|url\()\s*=?\s*[\"'(]?\s*(?:https?:)?//", text.split('id="data"')[0]))
        check("the file's texts are no markup", text.count("</script>") == 2)

        done = chromium("--dump-dom", page.as_uri())
        dom = done.stdout
        (out / "model.dom.html").write_text(dom)
        errors = [line for line in done.stderr.splitlines() if "CONSOLE" in line or "Uncaught" in line]
        check("the script runs to its end, without a message", 'data-ready="yes"' in dom and not errors, *errors[:3])
        check("the title is the model's", "<title>Tolstoy 5M</title>" in dom)
        check("every tensor has a rectangle", dom.count("<rect") >= len(report["tensors"]))
        body = html.unescape(re.sub(r"<script.*?</script>", "", dom, flags=re.S))
        check("every tensor is in the table", all(t["name"] in body for t in report["tensors"]))
        check("every key is in the table", all(key in body for key in report["metadata"]))
        check("errors and histograms are there", "model-F32.gguf" in body and "σ" in body and "dB" in body)
        check("the plan says what fits", "weights" in body and "cache" in body and "fit" in body)
        check("hostile text is shown as text", hostile in body)
        for theme in ("light", "dark"):
            picture = out / f"model-{theme}.png"
            picture.unlink(missing_ok=True)
            chromium(f"--screenshot={picture}", "--window-size=1280,2600", "--hide-scrollbars", f"{page.as_uri()}#{theme}")
            check(f"screenshot, {theme}: {picture}", picture.exists() and picture.stat().st_size > 20000)
    check.finish()


if __name__ == "__main__":
    main()
