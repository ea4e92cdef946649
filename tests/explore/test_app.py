import base64
import io

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

from keras_gappos import models, zoo
from keras_gappos.analysis import ablate, rank_channels, shift_consistency
from keras_gappos.explore.explored import Explored, load_explored, read_model
from keras_gappos.explore.images import fit, images_to_rank_by
from keras_gappos.explore.location import ordered_network
from keras_gappos.explore.shifts import answers_under_shifts, consistency
from keras_gappos.layers import place_on_grid

pytest.importorskip("fastapi")
pytest.importorskip("httpx")
from fastapi.testclient import TestClient

from keras_gappos.explore.app import Explorer, make_app


def saved(folder, model, name="mine.keras"):
    model.save(folder / name)
    return str(folder / name)


def classifier(*more):
    return keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(8, 3, activation="relu"),
            *more,
            layers.GlobalAveragePooling2D(),
            layers.Dense(4),
        ]
    )


@pytest.fixture(scope="module")
def explorer(tmp_path_factory):
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("models")
    segmenter = models.deeplabv3((16, 24, 3), 4, depth=18, width=2, output_stride=8)
    unpooled = keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(2)])
    paths = [
        saved(folder, model, f"{name}.keras")
        for name, model in (("mine", classifier()), ("segmenter", segmenter), ("flat", unpooled))
    ]
    return Explorer(tuple(paths))


@pytest.fixture(scope="module")
def client(explorer):
    return TestClient(make_app(explorer))


def upload(client, path, content):
    headers = {"content-type": "application/octet-stream"}
    return client.post(path, content=content, headers=headers)


def png(size=(20, 10)):
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size, 3), "uint8")).save(
        content, "png"
    )
    return content.getvalue()


def test_the_page_and_its_parts_are_served(client):
    assert "keras-gappos explore" in client.get("/").text
    setup = client.get("/api/setup").json()
    assert [(model["name"], model["task"]) for model in setup["models"]] == [
        ("mine", "classification"),
        ("segmenter", "segmentation"),
        ("flat", "classification"),
    ]
    assert client.get("/explore.js").headers["content-type"].startswith("text/javascript")
    assert "flower" in setup["images"]


def test_a_page_of_another_site_reaches_nothing(client):
    assert client.get("/api/setup", headers={"host": "evil.example"}).status_code == 400
    sent = client.post("/api/image", content=png(), headers={"content-type": "text/plain"})
    assert sent.status_code == 415


def test_the_networks_of_a_grid_name_the_cell():
    info = zoo.info("gapnet_resnet18.digits_location_3x3_w8")
    network = ordered_network("gapnet", 3)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (2, 8, 8, 1)).astype("uint8")
    canvases = np.asarray(place_on_grid(info.preprocess(images), [2, 7], 3))
    raw = (canvases * info.std + info.mean) * 255
    identity = np.arange(network.inputs[1].shape[-1])[None].repeat(2, 0)
    outputs = network.predict([raw, identity], verbose=0)
    expected = keras.ops.softmax(zoo.load(info.name)(canvases))
    np.testing.assert_allclose(outputs, expected, atol=1e-4)
    other = network.predict([raw, identity[:, ::-1]], verbose=0)
    assert abs(other - outputs).max() > 0.1


def test_location_answers_by_order_of_the_channels(client):
    setup = client.get("/api/location/3").json()
    side = 3 * setup["side"]
    canvas = np.full((side, side), setup["background"])
    canvas[8:16, 16:24] = np.reshape(setup["digits"][0], (8, 8))  # cell 5
    channels = setup["channels"]
    orders = {name: list(range(count)) for name, count in channels.items()}
    body = {"grid_size": 3, "canvas": canvas.ravel().tolist(), "orders": orders}
    answers = client.post("/api/locate", json=body).json()
    assert np.argmax(answers["gapnet"]) == 5
    assert sum(answers["permutenet"]) == pytest.approx(1, abs=1e-4)
    for wrong in ({"canvas": [0.0]}, {"orders": {"gapnet": [0]}}, {"grid_size": 4}):
        refused = client.post("/api/locate", json=body | wrong)
        assert refused.status_code == 400, wrong
    assert client.post("/api/locate", json=body | {"orders": {"x": [0]}}).status_code == 404


def test_an_upload_is_an_image_of_the_page(client, explorer):
    name = upload(client, "/api/image", png()).json()["name"]
    shown = Image.open(io.BytesIO(client.get(f"/api/image/{name}/12/12").content))
    assert shown.size == (12, 12)
    np.testing.assert_array_equal(np.asarray(shown), explorer.image(name, (12, 12, 3)))


@pytest.mark.parametrize("content", [b"", b"no image", png()[:50]])
def test_a_file_that_is_no_image_is_a_sentence_and_the_server_lives_on(client, content):
    refused = upload(client, "/api/image", content)
    assert refused.status_code == 400
    assert "image" in refused.json()["detail"]
    assert client.get("/api/setup").status_code == 200


def test_a_file_that_is_too_large_is_refused_early(client, monkeypatch):
    monkeypatch.setattr("keras_gappos.explore.images.MAX_BYTES", 1000)
    assert upload(client, "/api/image", bytes(1001)).status_code == 413


def test_answers_under_all_shifts_are_what_shift_consistency_counts(client, explorer):
    explored = explorer.models["mine"]
    offsets = [(down, right) for down in range(-2, 3) for right in range(-2, 3)]
    body = {"model": "mine", "image": "temple", "offsets": offsets, "fill": "wrap"}
    found = client.post("/api/shifts", json=body).json()
    image = explorer.image("temple", (12, 12, 3))[None].astype("float32")
    result = shift_consistency(
        explored.network, image, "exact", max_shift=2, fill_mode="wrap", progress=False
    )
    assert found["consistency"] == pytest.approx(result.consistency)
    moved = np.roll(image, (-2, 1), axis=(1, 2))  # of offset (-2, 1)
    best = explored.class_names[int(np.argmax(explored.network.predict(moved, verbose=0)))]
    assert found["answers"][offsets.index((-2, 1))][0][0] == best


@pytest.mark.parametrize(("fill", "border"), [("mean color", [100, 50, 25]), ("black", [0, 0, 0])])
def test_the_fill_is_in_the_images_units(fill, border):
    seen = []

    def prepare(images):
        return images / 255 - 0.5

    network = classifier()
    explored = Explored("x", network, prepare, fill=np.array([100.0, 50, 25]))
    network.predict_on_batch = lambda batch: seen.append(batch) or np.eye(4)[: len(batch)]
    image = np.full((12, 12, 3), 200, "uint8")
    answers_under_shifts(explored, image, np.array([[3, 0]]), fill)
    np.testing.assert_allclose(seen[0][0, 0, 0], np.array(border) / 255 - 0.5, atol=1e-6)
    np.testing.assert_allclose(seen[0][0, 5, 5], 200 / 255 - 0.5, atol=1e-6)


def test_consistency_is_the_share_of_pairs():
    answers = [[(name, 1.0)] for name in "aab"]
    assert consistency(answers) == pytest.approx(100 * 5 / 9)  # of ordered pairs, with themselves


def test_channels_are_ranked_and_switched_off_in_order(client, explorer):
    explored = explorer.models["mine"]
    found = client.post("/api/channels", json={"model": "mine", "image": "flower"}).json()
    images = images_to_rank_by((12, 12, 3)).astype("float32")
    ranking = rank_channels(explored.network, images, progress=False)
    assert found["channels"] == list(ranking.channels[:6])
    image = explorer.image("flower", (12, 12, 3))[None].astype("float32")
    step = len(found["counts"]) // 2
    without = ablate(explored.network, ranking.channels[: found["counts"][step]])
    expected = explored.answers(without.predict(image, verbose=0))[0]
    assert found["answers"][step] == [list(answer) for answer in expected]
    maps = np.frombuffer(base64.b64decode(found["maps"]), "uint8")
    assert maps.size == 2 * 6 * np.prod(found["map_shape"])
    assert maps.max() == 255


def test_a_segmentation_network_gives_masks(client, explorer):
    found = client.post("/api/channels", json={"model": "segmenter", "image": "shapes"}).json()
    masks = np.frombuffer(base64.b64decode(found["masks"]), "uint8")
    masks = masks.reshape(len(found["counts"]), *found["mask_shape"])
    network = explorer.models["segmenter"].network
    image = explorer.image("shapes", (16, 24, 3))[None].astype("float32") / 255
    np.testing.assert_array_equal(masks[0], network.predict(image, verbose=0)[0].argmax(-1))
    refused = client.post(
        "/api/shifts", json={"model": "segmenter", "image": "shapes", "offsets": [[0, 0]]}
    )
    assert (refused.status_code, "pixel" in refused.json()["detail"]) == (400, True)


def test_a_model_without_pooling_is_a_sentence(client):
    refused = client.post("/api/channels", json={"model": "flat", "image": "flower"})
    assert refused.status_code == 400
    assert "pooling" in refused.json()["detail"]


def test_a_model_can_be_added(client, explorer, tmp_path):
    path = tmp_path / "own.keras"
    classifier().save(path)
    for name in ("own", "own'"):
        added = upload(client, "/api/model?name=own.keras", path.read_bytes()).json()
        assert added["name"] == name
    assert "own" in explorer.models


@pytest.mark.parametrize(
    ("model", "name", "message"),
    [
        (classifier(layers.Lambda(lambda x: x / 2)), "x.keras", "runs code"),
        (b"no model", "x.keras", "no .keras model"),
        (b"no model", "x.h5", "must be a .keras file"),
        (keras.Sequential([keras.Input((4,)), layers.Dense(2)]), "x.keras", "must take one image"),
        (
            keras.Sequential(
                [keras.Input((4, 4, 3)), layers.GlobalAveragePooling2D(), layers.Dense(1)]
            ),
            "x.keras",
            "two classes or more",
        ),
    ],
    ids=["code", "no model", "h5", "no image", "one output"],
)
def test_a_file_that_is_no_model_to_explore_is_a_sentence(client, tmp_path, model, name, message):
    path = tmp_path / "given.keras"
    path.write_bytes(model) if isinstance(model, bytes) else model.save(path)
    refused = upload(client, f"/api/model?name={name}", path.read_bytes())
    assert refused.status_code == 400
    assert message in refused.json()["detail"]
    assert client.get("/api/setup").status_code == 200


def test_what_is_not_there_is_said(client, tmp_path):
    body = {"model": "no", "image": "flower", "offsets": [[0, 0]]}
    assert client.post("/api/shifts", json=body).status_code == 404
    body["model"] = "mine"
    assert client.post("/api/shifts", json=body | {"image": "no"}).status_code == 404
    refused = client.post("/api/shifts", json=body | {"fill": "pink"})
    assert "must be one of" in refused.json()["detail"]
    with pytest.raises(FileNotFoundError, match="no file"):
        load_explored(str(tmp_path / "no.keras"))
    with pytest.raises(ValueError, match="on a grid"):
        load_explored("gapnet_resnet18.digits_location_3x3_w8")


def test_what_a_models_pixels_are_goes_by_its_first_layers(tmp_path):
    plain = keras.Sequential(
        [keras.Input((4, 4, 3)), layers.GlobalAveragePooling2D(), layers.Dense(2)]
    )
    white = np.full((1, 4, 4, 3), 255, "uint8")
    path = tmp_path / "m.keras"
    plain.save(path)
    for pixels, value in ((None, 1), ("0..255", 255), ("-1..1", 1)):
        assert read_model(path, "m", pixels).prepare(white).max() == pytest.approx(value)
    classifier().save(path)
    assert load_explored(str(path)).prepare(fit(white[0], (12, 12, 3))[None]).max() == 255
