"""Zip archives of SavedModels, unpacked whole or not at all."""

import os
import pathlib
import shutil
import stat
import tempfile
import zipfile
import zlib

UNFINISHED = ".unpacking"  # how the names of folders begin that are not whole yet
_PIECE = 1 << 20  # bytes


def extract(path, folder, limit):
    """Unpacks an archive into a folder that must not be there yet.

    Args:
        path: of the zip archive.
        folder: a `pathlib.Path`; it appears when all is in it.
        limit: bytes that the archive may hold, unpacked.

    Raises:
        ValueError: for an archive that holds more bytes, a link, the same name twice, or a path
            that leads out of the folder; nothing is unpacked.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        check_members(path, members, limit)
        unfinished = pathlib.Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=folder.parent))
        try:
            for member in members:
                archive.extract(member, unfinished)
            os.chmod(unfinished, 0o755)
            os.rename(unfinished, folder)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise


def check_members(path, members, limit):
    """Refuses an archive that is not plain files and folders of the expected size.

    Args:
        path: of the archive, for messages.
        members: its `zipfile.ZipInfo` objects.
        limit: bytes that they may have in all.

    Raises:
        ValueError: see `extract`.
    """
    total = sum(member.file_size for member in members)
    if total > limit:
        raise ValueError(f"{path} holds {total:,} bytes, more than the {limit:,} of the registry")
    names = [member.filename for member in members]
    for member in members:
        parts = member.filename.removesuffix("/").split("/")
        if "\\" in member.filename or ":" in member.filename or {"", ".", ".."} & set(parts):
            raise ValueError(f"{path} holds a path that leads elsewhere: {member.filename!r}")
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ValueError(f"{path} holds a link or device: {member.filename!r}")
    if len(set(names)) < len(names):
        raise ValueError(f"{path} holds the same name twice")


def matches(path, folder) -> bool:
    """Whether a folder holds just what an archive does, by sizes and checksums.

    Args:
        path: of the zip archive.
        folder: a `pathlib.Path`.
    """
    if not folder.is_dir():
        return False
    found = {
        file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()
    }
    with zipfile.ZipFile(path) as archive:
        members = {m.filename: m for m in archive.infolist() if not m.is_dir()}
    try:
        return found.keys() == members.keys() and all(
            file.stat().st_size == members[name].file_size and _crc(file) == members[name].CRC
            for name, file in found.items()
        )
    except OSError:  # not to be read, or gone: another process may be making it anew
        return False


def unpacked_bytes(path) -> int:
    """The bytes of all files in an archive."""
    with zipfile.ZipFile(path) as archive:
        return sum(member.file_size for member in archive.infolist())


def _crc(path):
    crc = 0
    with path.open("rb") as stream:
        while piece := stream.read(_PIECE):
            crc = zlib.crc32(piece, crc)
    return crc
