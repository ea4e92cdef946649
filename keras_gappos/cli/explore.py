"""The command `keras-gappos explore`."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Annotated, Literal

import tyro


@dataclasses.dataclass(frozen=True)
class ExploreSettings:
    """The models to explore, and where the page is served."""

    model: tuple[str, ...] = (
        "resnet18.cifar10_unshifted",
        "blurpool_resnet18.cifar10_unshifted",
        "augshift_resnet18.cifar10",
        "deeplabv3_resnet18.shapes_w16",
    )
    """Names in the zoo (see `zoo list`) or paths of .keras files: classifiers, or segmentation
    networks."""
    pixels: Literal["auto", "0..255", "0..1", "-1..1"] = "auto"
    """The values that models from .keras files take; auto: 0..255 for a model that rescales or
    normalizes its input, otherwise 0..1."""
    port: int = 8765
    """Port on this machine (127.0.0.1); 0 takes a free one."""
    browser: bool = True
    """Open the page in the browser."""


def explore(settings: Annotated[ExploreSettings, tyro.conf.arg(name="")]) -> None:
    """See in the browser what happens when an image moves.

    Drag an image: which cell do GAPNet and PermuteNet name, where does a classifier's answer flip,
    which channels carry position, and what is left without them? The page is served on this
    machine alone, and ends with Ctrl-C.
    """
    try:
        import uvicorn

        from keras_gappos.explore.app import Explorer, make_app
    except ModuleNotFoundError as error:
        if error.name not in ("uvicorn", "fastapi", "starlette", "pydantic"):
            raise
        raise ImportError(
            "`keras-gappos explore` needs FastAPI and uvicorn: pip install 'keras-gappos[explore]'"
        ) from error
    import logging
    import socket
    import webbrowser

    from rich.console import Console

    logging.getLogger("tensorflow").setLevel("ERROR")  # it counts how often it traces
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", settings.port))
            listener.listen()  # the browser may be faster than the server
        except (OSError, OverflowError) as error:
            raise ValueError(
                "`port` must be a free port of this machine, or 0 for any. Received: "
                f"{settings.port} ({error})"
            ) from error
        console = Console()
        console.print("Loading the models ...", highlight=False)
        pixels = None if settings.pixels == "auto" else settings.pixels
        app = make_app(Explorer(settings.model, pixels))
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        console.print(f"Open {address} in a browser; Ctrl-C ends it.", highlight=False)
        if settings.browser:
            webbrowser.open(address)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        with contextlib.suppress(KeyboardInterrupt):  # which ends it
            server.run(sockets=[listener])
