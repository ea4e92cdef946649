"""The page's server: models and images by name, and what they give as JSON."""

from __future__ import annotations

import contextlib
import io
import pathlib
import socket
import tempfile
import threading
from collections.abc import Iterator
from typing import Annotated

import numpy as np
import uvicorn
from fastapi import Body, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field
from starlette.middleware.trustedhost import TrustedHostMiddleware

from keras_gappos.explore import images as pictures
from keras_gappos.explore import location
from keras_gappos.explore.channels import PositionChannels
from keras_gappos.explore.explored import Explored, load_explored, read_model
from keras_gappos.explore.shifts import FILLS, answers_under_shifts, consistency

PAGE = pathlib.Path(__file__).parent / "page"
MAX_SHIFT = 8
_MAX_MODEL_BYTES = 500_000_000
_MAX_UPLOADS = 50


class Locate(BaseModel):
    """A canvas for the networks of a grid, and the orders of their channels."""

    grid_size: int
    canvas: list[float]
    orders: dict[str, list[int]]


class Shifts(BaseModel):
    """An image and the offsets (down, right) by which a model sees it moved."""

    model: str
    image: str
    offsets: Annotated[
        list[tuple[int, int]], Field(min_length=1, max_length=(2 * MAX_SHIFT + 1) ** 2)
    ]
    fill: str = FILLS[0]


class Look(BaseModel):
    """An image whose channels in a model are shown."""

    model: str
    image: str


class Explorer:
    """The models and images of a running page; one computation at a time.

    Args:
        models: names in the zoo, or paths of `.keras` files; loaded at once.
        pixels: what `.keras` models take; see `load_explored`.
    """

    def __init__(self, models: tuple[str, ...], pixels: str | None = None):
        self.pixels = pixels
        self.models: dict[str, Explored] = {}
        for name in models:
            self.add_model(load_explored(name, pixels))
        self.images = pictures.samples()
        self.lock = threading.Lock()
        self._located: dict[int, dict] = {}
        self._channels: dict[str, PositionChannels] = {}
        self._uploads = 0

    def add_model(self, explored: Explored) -> Explored:
        """Adds a model, under another name if the name is taken."""
        while explored.name in self.models:
            explored.name += "'"
        self.models[explored.name] = explored
        return explored

    def add_image(self, image: np.ndarray) -> str:
        """Adds an image; returns its name. The oldest uploads are forgotten."""
        self._uploads += 1
        self.images.pop(f"upload {self._uploads - _MAX_UPLOADS}", None)
        name = f"upload {self._uploads}"
        self.images[name] = image
        return name

    def model(self, name: str) -> Explored:
        """The model of that name.

        Raises:
            HTTPException: 404, if there is none.
        """
        return _find(self.models, name, "model")

    def image(self, name: str, image_shape: tuple[int, int, int]) -> np.ndarray:
        """The image of that name, uint8 of the shape; see `fit`."""
        return pictures.fit(_find(self.images, name, "image"), image_shape)

    def channels(self, explored: Explored) -> PositionChannels:
        """The position channels of a model, ranked at the first call."""
        if explored.name not in self._channels:
            self._channels[explored.name] = PositionChannels(explored)
        return self._channels[explored.name]

    def located(self, grid_size: int) -> dict:
        """The networks of a grid, by name."""
        if grid_size not in location.GRIDS:
            raise ValueError(f"`grid_size` must be one of {location.GRIDS}. Received: {grid_size}")
        if grid_size not in self._located:
            self._located[grid_size] = {
                network: location.ordered_network(network, grid_size)
                for network in location.NETWORKS
            }
        return self._located[grid_size]


def _find(things, name, kind):
    if name not in things:
        raise HTTPException(404, f"There is no {kind} {name!r}; reload the page.")
    return things[name]


def make_app(explorer: Explorer) -> FastAPI:
    """The web application; errors of the input are sentences, with status 400."""
    app = FastAPI(title="keras-gappos explore", openapi_url=None)
    # A page of another site that names this machine must not reach it.
    app.add_middleware(
        TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "testserver"]
    )

    @app.exception_handler(ValueError)
    def bad_input(request: Request, error: ValueError):
        return JSONResponse({"detail": str(error)}, status_code=400)

    @app.get("/api/setup")
    def setup():
        return {
            "models": [explored.describe() for explored in explorer.models.values()],
            "images": list(explorer.images),
            "fills": FILLS,
            "max_shift": MAX_SHIFT,
            "grids": location.GRIDS,
        }

    @app.get("/api/location/{grid_size}")
    def location_setup(grid_size: int):
        with explorer.lock:
            return location.setup(grid_size, explorer.located(grid_size))

    @app.post("/api/locate")
    def locate(request: Locate):
        with explorer.lock:
            networks = explorer.located(request.grid_size)
        shape = networks["gapnet"].inputs[0].shape[1:]
        if len(request.canvas) != np.prod(shape):
            raise ValueError(f"`canvas` must have {np.prod(shape)} values.")
        canvas = np.asarray(request.canvas, "float32").reshape(1, *shape)
        answers = {}
        with explorer.lock:
            for name, order in request.orders.items():
                network = _find(networks, name, "network")
                if sorted(order) != list(range(network.inputs[1].shape[-1])):
                    raise ValueError(f"`orders` must hold each channel of {name} once.")
                answers[name] = network.predict_on_batch([canvas, np.asarray([order], "int32")])
        return {name: np.asarray(values)[0].tolist() for name, values in answers.items()}

    @app.get("/api/image/{name}/{height}/{width}")
    def image(name: str, height: int, width: int):
        from PIL import Image

        content = io.BytesIO()
        if not 1 <= height * width <= 1_000_000:
            raise ValueError("The image must have between 1 and a million pixels.")
        Image.fromarray(explorer.image(name, (height, width, 3))).save(content, "png")
        return Response(content.getvalue(), media_type="image/png")

    @app.post("/api/image")
    async def upload_image(request: Request):
        content = await _body(request, pictures.MAX_BYTES, "image")
        return {"name": explorer.add_image(pictures.read_image(content))}

    @app.post("/api/model")
    async def upload_model(request: Request, name: str):
        content = await _body(request, _MAX_MODEL_BYTES, "model")
        stem, suffix = pathlib.Path(name).stem or "model", pathlib.Path(name).suffix
        with tempfile.TemporaryDirectory() as folder, explorer.lock:
            path = pathlib.Path(folder) / f"model{suffix}"
            path.write_bytes(content)
            explored = explorer.add_model(read_model(path, stem, explorer.pixels))
        return explored.describe()

    @app.post("/api/shifts")
    def shifts(request: Annotated[Shifts, Body()]):
        explored = explorer.model(request.model)
        if explored.task != "classification":
            raise ValueError(f"{explored.name} gives a class for each pixel; see Channels.")
        if request.fill not in FILLS:
            raise ValueError(f"`fill` must be one of {FILLS}. Received: {request.fill!r}")
        image = explorer.image(request.image, explored.image_shape)
        with explorer.lock:
            answers = answers_under_shifts(explored, image, np.array(request.offsets), request.fill)
        return {"answers": answers, "consistency": consistency(answers)}

    @app.post("/api/channels")
    def channels(request: Annotated[Look, Body()]):
        explored = explorer.model(request.model)
        image = explorer.image(request.image, explored.image_shape)
        with explorer.lock:
            return explorer.channels(explored).look_at(image)

    app.mount("/", StaticFiles(directory=PAGE, html=True))
    return app


@contextlib.contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """Serves an application on a free port of this machine, in a thread; gives its address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join()


async def _body(request, limit, kind):
    """The bytes that were sent; a page of another site cannot send this content type unasked."""
    if request.headers.get("content-type") != "application/octet-stream":
        raise HTTPException(415, "Send the file as application/octet-stream.")
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > limit:
            raise HTTPException(
                413, f"The {kind} must have at most {limit // 1_000_000} MB; choose a smaller file."
            )
    return bytes(content)
