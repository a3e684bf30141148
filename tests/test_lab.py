"""An executed notebook that somebody else ran, in a real JupyterLab in a real browser: its figures show untrusted."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from conftest import need
from playwright.sync_api import expect, sync_playwright
from report_pages import executed

pytest.importorskip("jupyterlab", reason="the extra lab is not installed")

FIGURES = 8


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A JupyterLab that has never seen a notebook: its URL without the path, and its folder."""
    places = {
        name: str(tmp_path / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "HOME")
    }
    work = tmp_path / "work"
    work.mkdir()
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0"]
    command += [
        f"--ServerApp.root_dir={work}",
        "--IdentityProvider.token=t",
        "--LabApp.news_url=",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    log = tmp_path / "log"
    with log.open("wb") as file, subprocess.Popen(command, env=os.environ | places, stderr=file, stdout=file) as server:
        try:
            while "/lab?token=" not in (text := log.read_text("utf-8")):
                assert server.poll() is None, text
                time.sleep(0.2)
            port = text.partition("127.0.0.1:")[2].partition("/")[0]
            yield f"http://127.0.0.1:{port}", work
        finally:
            server.terminate()


def test_an_untrusted_notebook_shows_every_figure(lab: tuple[str, Path]) -> None:
    url, folder = lab
    notebook = executed("rollout_window", source="sample:critical")
    nbformat.write(notebook, folder / "report.ipynb")  # type: ignore[no-untyped-call]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=need("chromium"), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 20_000})  # Lab draws only cells in view
        page.goto(f"{url}/lab/tree/report.ipynb?token=t")
        figures = page.locator(".jp-Notebook .jp-OutputArea-output img")
        expect(figures).to_have_count(FIGURES, timeout=120_000)
        for number in range(FIGURES):
            expect(figures.nth(number)).to_be_visible()
            assert figures.nth(number).evaluate("image => image.decode().then(() => image.naturalWidth)") > 600
            assert figures.nth(number).get_attribute("src", timeout=1000).startswith("data:image/png")  # type: ignore[union-attr]
        assert page.locator(".jp-Notebook svg[aria-label]").count() == 0
        if shot := os.environ.get("VPANALYSIS_LAB_SHOT"):
            page.screenshot(path=shot)
        browser.close()
