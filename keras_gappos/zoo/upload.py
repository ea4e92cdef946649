"""Uploads the zoo's verified files to a hub."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import sys
import tempfile

from keras_gappos.zoo import hubs
from keras_gappos.zoo.registry import info, list_models
from keras_gappos.zoo.sources import Source
from keras_gappos.zoo.transport import download


def upload(target: str, zoo_dir: str | os.PathLike) -> int:
    """Uploads all files of the registry, the cards and the README to Hugging Face or Kaggle.

    `KERAS_GAPPOS_ZOO=TARGET` then reads them from there. Files that are no longer in the registry
    stay on Hugging Face; on Kaggle each upload is a new version. A new model on Kaggle is private
    until its page says otherwise.

    Args:
        target: `"hf://owner/name"`, `"hf://owner/name@branch"` or
            `"kaggle://owner/model/framework/variation"`. The account is the one that the client
            library is signed in to: `hf auth login` or `HF_TOKEN`; `KAGGLE_API_TOKEN` or
            `~/.kaggle/access_token`.
        zoo_dir: folder of the files. Each must have the size and SHA-256 digest of the registry.

    Returns:
        The number of files uploaded.

    Raises:
        ValueError: for an address that is none of these.
        ImportError: if the client library is missing.
        OSError: if a file is missing or differs, in which case nothing is uploaded, or if the
            upload fails.
    """
    _, place, version = hubs.parse_address(target)
    if target.startswith("kaggle:") and version is not None:
        raise ValueError(
            f"`target` must have no version, since each upload makes a new one: kaggle://{place}. "
            f"Received: {target}"
        )
    zoo = pathlib.Path(zoo_dir).expanduser()
    source = Source(str(zoo), "Nothing was uploaded.")
    with tempfile.TemporaryDirectory(prefix="keras-gappos-zoo") as temporary:
        staged = pathlib.Path(temporary)
        for model in map(info, list_models()):
            (staged / model.name).mkdir()
            for file in model.files.values():
                download(file, source, staged / file.path)
        texts = ["README.md", "LICENSE", *(f"{name}/card.md" for name in list_models())]
        for text in filter(lambda text: (zoo / text).is_file(), texts):
            shutil.copyfile(zoo / text, staged / text)
        try:
            with contextlib.redirect_stdout(sys.stderr):  # the libraries print
                hubs.upload(target, temporary)
        except OSError as error:
            raise type(error)(f"Could not upload the zoo to {target}: {error}") from None
        return sum(path.is_file() for path in staged.rglob("*"))
