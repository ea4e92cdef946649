"""From a key press to the drawn answer on the page of `keras-gappos explore`, in Chromium.

    python benchmarks/explore.py

needs Chromium and the extras [explore] and [test]. A time includes the drawing, the request, and
the networks; the bound is 150 ms.
"""

import dataclasses
import shutil
import statistics
import time

import tyro
from playwright.sync_api import sync_playwright

from keras_gappos.cli.explore import ExploreSettings
from keras_gappos.explore.app import Explorer, make_app, served


@dataclasses.dataclass(frozen=True)
class Settings:
    """Time the page's answers."""

    presses: int = 100
    """Key presses that are timed in each tab."""
    chromium: str = shutil.which("chromium") or "google-chrome"


def milliseconds_of(page, selector, press, presses):
    """Milliseconds from a key press until an element has changed and is drawn."""
    return [
        page.evaluate(
            """async ([selector, stage, key]) => {
                const element = document.querySelector(selector);
                const changed = new Promise((resolve) => {
                  const observer = new MutationObserver(() => (observer.disconnect(), resolve()));
                  observer.observe(element, {childList: true, characterData: true, attributes: true,
                                             subtree: true});
                });
                const start = performance.now();
                document.querySelector(stage).dispatchEvent(new KeyboardEvent("keydown", {key}));
                await changed;
                await new Promise(requestAnimationFrame);
                return performance.now() - start;
            }""",
            [selector, press, ("ArrowRight", "ArrowLeft")[i % 2]],
        )
        for i in range(presses)
    ]


def show(name, times):
    """Prints the median and the spread of times."""
    deciles = statistics.quantiles(times, n=10)
    print(f"{name:34} median {statistics.median(times):6.0f} ms, 90 % below {deciles[-1]:6.0f} ms")


def main(settings):
    models = ExploreSettings().model
    with served(make_app(Explorer(models))) as address, sync_playwright() as started:
        browser = started.chromium.launch(executable_path=settings.chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector("#location[data-milliseconds]")
        for grid_size in (3, 5, 7):
            page.select_option("#grid", str(grid_size))
            page.wait_for_timeout(3000)
            times = milliseconds_of(page, "#permutenet", "#canvas", settings.presses)
            show(f"Location, {grid_size}x{grid_size}, two networks", times)
        page.click("[data-tab=shift]")
        finished = (
            "[...document.querySelectorAll('.card b')].every(b => b.textContent.includes('%'))"
        )
        page.wait_for_function(finished)
        show(
            "Shift, three classifiers", milliseconds_of(page, ".card", "#shifted", settings.presses)
        )
        start = time.perf_counter()
        page.select_option("#shift .images", "temple")
        page.wait_for_timeout(100)
        page.wait_for_function(finished)
        print(f"Shift, the maps of a new image: {time.perf_counter() - start:.1f} s")
        browser.close()


if __name__ == "__main__":
    main(tyro.cli(Settings))
