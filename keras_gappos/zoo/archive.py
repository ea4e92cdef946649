"""Zip archives of SavedModels, unpacked whole or not at all."""

import os
import pathlib
import shutil
import stat
import tempfile
import zipfile
import zlib

UNFINISHED = ".unpacking"  # name prefix of incomplete folders
_PIECE = 1 << 20  # bytes
_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest date of a zip archive


def extract(path: pathlib.Path, folder: pathlib.Path, limit: int) -> None:
    """Unpacks an archive into a folder that must not exist.

    Args:
        path: the zip archive.
        folder: where to unpack; it appears only when complete.
        limit: maximum unpacked size in bytes.

    Raises:
        ValueError: if the archive is larger, or has a link, a repeated name, or a path outside
            the folder; nothing is unpacked.
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


def check_members(path: pathlib.Path, members: list[zipfile.ZipInfo], limit: int) -> None:
    """Rejects an archive with anything but plain files and folders of the expected size.

    Args:
        path: the archive, for messages.
        members: its `zipfile.ZipInfo` objects.
        limit: maximum total size in bytes.

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


def matches(path: pathlib.Path, folder: pathlib.Path) -> bool:
    """Whether a folder has exactly the files of an archive, by size and checksum."""
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
    except OSError:  # unreadable or gone: another process may be replacing it
        return False


def is_whole(path: pathlib.Path) -> bool:
    """Whether a path is an archive whose files have their checksums."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile, zlib.error):
        return False


def pack(folder: pathlib.Path, path: pathlib.Path) -> None:
    """Packs a folder into an archive `path`; the same files give the same archive."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            member = zipfile.ZipInfo(file.relative_to(folder).as_posix(), _DATE)
            member.external_attr = 0o644 << 16
            packed.writestr(member, file.read_bytes(), zipfile.ZIP_DEFLATED, 9)


def unpacked_bytes(path: pathlib.Path) -> int:
    """The total unpacked size of an archive's files."""
    with zipfile.ZipFile(path) as archive:
        return sum(member.file_size for member in archive.infolist())


def _crc(path):
    crc = 0
    with path.open("rb") as stream:
        while piece := stream.read(_PIECE):
            crc = zlib.crc32(piece, crc)
    return crc
