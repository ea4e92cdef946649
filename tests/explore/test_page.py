"""The page in a real browser: Chromium, by Playwright."""

import functools
import http.server
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

pytest.importorskip("fastapi")
playwright = pytest.importorskip("playwright.sync_api")

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]


@pytest.fixture(scope="module")
def address():
    from keras_gappos.explore.app import Explorer, make_app, served

    models = (
        "resnet18.cifar10_unshifted",
        "augshift_resnet18.cifar10",
        "deeplabv3_resnet18.shapes_w16",
    )
    with served(make_app(Explorer(models))) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, address):
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.set_default_timeout(90_000)
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    page.wait_for_selector("body[data-ready]")
    yield page
    page.close()
    assert errors == []


def text_becomes(page, selector, part):
    page.wait_for_function(
        "([selector, part]) => document.querySelector(selector)?.textContent.includes(part)",
        arg=[selector, part],
    )


def test_a_digit_is_dragged_over_the_grid_and_the_networks_answer(page):
    text_becomes(page, "#gapnet-says", "cell 0, correct")
    box = page.locator("#canvas").bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(
        box["x"] + 50 + 2 * box["width"] / 3, box["y"] + 50 + box["height"] / 3, steps=9
    )
    page.mouse.up()
    text_becomes(page, "#gapnet-says", "cell 5, correct")
    for _ in range(8):
        page.keyboard.press("ArrowUp")  # a pixel each; the digit is 8 high
    text_becomes(page, "#gapnet-says", "cell 2, correct")
    page.select_option("#grid", "5")
    text_becomes(page, "#gapnet-says", "cell 0, correct")


def test_shuffled_channels_make_the_answer_jump(page):
    text_becomes(page, "#gapnet-says", "cell 0, correct")
    for _ in range(20):  # a permutation may happen to leave one answer
        page.click("#shuffle")
        page.wait_for_timeout(300)
        if "wrong" in page.inner_text("#gapnet-says"):
            break
        page.click("#shuffle")
    text_becomes(page, "#gapnet-says", "wrong")
    page.click("#shuffle")
    text_becomes(page, "#gapnet-says", "cell 0, correct")


def test_an_image_is_dragged_and_the_answers_follow_at_once(page):
    page.click("[data-tab=shift]")
    text_becomes(page, ".card:nth-of-type(2) b", "consistent over all 289 shifts")
    page.focus("#shifted")
    for _ in range(30):
        page.keyboard.press("ArrowRight")
    assert page.inner_text("#offset") == "0, 8"  # as far as it goes
    with page.expect_request("**/api/shifts"):
        page.select_option("#fill", "wrap")
    page.click("#center")
    assert page.inner_text("#offset") == "0, 0"
    assert page.locator(".card .bar").count() >= 6


def test_channels_are_switched_off_by_the_slider(page):
    page.click("[data-tab=channels]")
    page.select_option("#channels .images", "shapes")
    page.wait_for_selector("#maps canvas")
    text_becomes(page, "#left", "0.0 % of the pixels changed")
    before = page.locator("#looked").screenshot()
    page.fill("#count", "12")
    text_becomes(page, "#off", "128 of 128")
    assert page.locator("#looked").screenshot() != before


def test_bad_files_are_sentences_and_the_page_lives_on(page, tmp_path):
    page.click("[data-tab=shift]")
    (tmp_path / "broken.png").write_bytes(b"no image")
    page.set_input_files("#shift .upload-image", tmp_path / "broken.png")
    text_becomes(page, "#message", "no image that can be read")
    huge = io.BytesIO()
    Image.new("1", (60_000, 1000)).save(huge, "png")
    (tmp_path / "huge.png").write_bytes(huge.getvalue())
    page.set_input_files("#shift .upload-image", tmp_path / "huge.png")
    text_becomes(page, "#message", "at most 50 million pixels")
    unsafe = keras.Sequential([keras.Input((8, 8, 3)), layers.Lambda(lambda x: x)])
    unsafe.save(tmp_path / "unsafe.keras")
    page.set_input_files("#shift .upload-model", tmp_path / "unsafe.keras")
    text_becomes(page, "#message", "runs code")
    pixels = np.random.default_rng(0).integers(0, 2**16, (40, 60)).astype("uint16")
    Image.fromarray(pixels).save(tmp_path / "fine.png")
    page.set_input_files("#shift .upload-image", tmp_path / "fine.png")
    page.wait_for_function("document.querySelector('#shift .images').value.startsWith('upload')")
    assert page.locator("#message").is_hidden()


def test_a_model_without_pooling_has_no_channels_but_answers(page, tmp_path):
    flat = keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(3)])
    flat.save(tmp_path / "flat.keras")
    page.click("[data-tab=channels]")
    page.wait_for_selector("#maps canvas")
    page.set_input_files("#channels .upload-model", tmp_path / "flat.keras")
    text_becomes(page, "#message", "pooling")
    page.click("[data-tab=shift]")
    text_becomes(page, ".card:last-of-type b", "consistent")


def test_it_is_readable_on_a_phone(page):
    page.set_viewport_size({"width": 360, "height": 740})
    for tab in ("location", "shift", "channels"):
        page.click(f"[data-tab={tab}]")
        page.wait_for_timeout(300)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 360, tab  # nothing to scroll to the side


def test_the_command_serves_the_page_until_ctrl_c(tmp_path):
    from keras_gappos.explore.app import PAGE

    model = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.GlobalAveragePooling2D(), layers.Dense(3)]
    )
    model.save(tmp_path / "own.keras")
    command = [sys.executable, "-m", "keras_gappos", "explore", "--no-browser", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--model", str(tmp_path / "own.keras")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout.readline() == "Loading the models ...\n"
    address = re.search(r"http://127.0.0.1:\d+/", process.stdout.readline())[0]
    with urllib.request.urlopen(address) as page:
        assert page.read() == (PAGE / "index.html").read_bytes()
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors) == (0, "", "")


@pytest.mark.tensorflow
@pytest.mark.skipif(shutil.which("npm") is None, reason="needs npm")
def test_the_location_works_without_the_server(browser, tmp_path):
    pytest.importorskip("tf2onnx")
    from keras_gappos.explore.static import write_static_page

    write_static_page(tmp_path)
    handler = functools.partial(QuietHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        page = browser.new_page()
        page.set_default_timeout(90_000)
        page.goto(f"http://127.0.0.1:{server.server_address[1]}/")
        text_becomes(page, "#gapnet-says", "cell 0, correct")
        page.focus("#canvas")
        for _ in range(8):
            page.keyboard.press("ArrowDown")
        text_becomes(page, "#gapnet-says", "cell 3, correct")
        assert page.locator("header").is_hidden()
        page.close()
        server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass
