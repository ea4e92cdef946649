"""The page without a server: `python -m keras_gappos.explore.static FOLDER`.

For the documentation. The networks of the first tab run in the browser, by ONNX Runtime Web, which
npm brings. It needs the extra `[export]`, and npm.
"""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile

import numpy as np

from keras_gappos.explore import location

PAGE = pathlib.Path(__file__).parent / "page"
RUNTIME = "onnxruntime-web@~1.30.0"
_RUNTIME_FILES = (
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
)


def write_static_page(folder: pathlib.Path) -> None:
    """Writes a page that shows the location of an image, and works on any web server.

    Args:
        folder: where to; what is there is kept, files of the page are replaced.

    Raises:
        OSError: if npm is missing or fails.
    """
    shutil.copytree(PAGE, folder, dirs_exist_ok=True)
    index = (folder / "index.html").read_text()
    (folder / "index.html").write_text(index.replace('"server"', '"browser"', 1))
    _copy_runtime(folder / "ort")
    setups = {}
    for grid_size in location.GRIDS:
        networks = {name: location.ordered_network(name, grid_size) for name in location.NETWORKS}
        setups[grid_size] = location.setup(grid_size, networks)
        for name, network in networks.items():
            shapes = [(1, *part.shape[1:]) for part in network.inputs]
            network([np.zeros(shapes[0], "float32"), np.arange(shapes[1][1])[None]])  # builds it
            path = folder / f"{name}_{grid_size}x{grid_size}.onnx"
            network.export(path, format="onnx", verbose=False)
    (folder / "location.json").write_text(json.dumps(setups))


def _copy_runtime(folder):
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        try:
            subprocess.run(
                ["npm", "pack", "--silent", RUNTIME],
                cwd=temporary,
                check=True,
                capture_output=True,
                text=True,
            )
        except FileNotFoundError as error:
            raise OSError("npm, which brings ONNX Runtime Web, is not installed.") from error
        except subprocess.CalledProcessError as error:
            raise OSError(f"npm pack {RUNTIME} failed: {error.stderr.strip()}") from error
        (package,) = pathlib.Path(temporary).glob("*.tgz")
        with tarfile.open(package) as archive:
            for name in _RUNTIME_FILES:
                with archive.extractfile(f"package/dist/{name}") as source:
                    (folder / name).write_bytes(source.read())


if __name__ == "__main__":
    write_static_page(pathlib.Path(sys.argv[1]))
