import stat
import zipfile

import pytest

from keras_gappos.zoo import archive


def make(path, entries):
    with zipfile.ZipFile(path, "w") as file:
        for name, content in entries:
            file.writestr(name, content)
    return path


def test_unpacks_and_recognizes_it(tmp_path):
    path = make(tmp_path / "a.zip", [("saved_model.pb", b"graph"), ("variables/data", b"1234")])
    folder = tmp_path / "a"
    assert not archive.matches(path, folder)
    archive.extract(path, folder, 9)
    assert (folder / "variables" / "data").read_bytes() == b"1234"
    assert archive.matches(path, folder)
    (folder / "variables" / "data").write_bytes(b"1235")
    assert not archive.matches(path, folder)
    (folder / "variables" / "data").unlink()
    assert not archive.matches(path, folder)


def test_a_file_too_many_is_no_match(tmp_path):
    path = make(tmp_path / "a.zip", [("x", b"1")])
    archive.extract(path, tmp_path / "a", 1)
    (tmp_path / "a" / "y").touch()
    assert not archive.matches(path, tmp_path / "a")


def link(name):
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([("/etc/x", b"")], "leads elsewhere"),
        ([("../x", b"")], "leads elsewhere"),
        ([("a/../../x", b"")], "leads elsewhere"),
        ([("a\\..\\x", b"")], "leads elsewhere"),
        ([("C:/x", b"")], "leads elsewhere"),
        ([("x", b"12345678901")], "11 bytes, more than the 10"),
        ([(link("x"), b"/etc")], "link"),
    ],
)
def test_refuses_what_could_do_harm(tmp_path, entries, reason):
    path = make(tmp_path / "a.zip", [("fine", b""), *entries])
    with pytest.raises(ValueError, match=reason):
        archive.extract(path, tmp_path / "a", 10)
    assert [file.name for file in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_refuses_the_same_name_twice(tmp_path):
    path = make(tmp_path / "a.zip", [("x", b"1"), ("x", b"2")])
    with pytest.raises(ValueError, match="twice"):
        archive.extract(path, tmp_path / "a", 10)


def test_a_damaged_archive_leaves_nothing(tmp_path):
    path = make(tmp_path / "a.zip", [("x", b"some content")])
    path.write_bytes(path.read_bytes().replace(b"some content", b"same content"))
    with pytest.raises(zipfile.BadZipFile):
        archive.extract(path, tmp_path / "a", 100)
    assert [file.name for file in tmp_path.iterdir()] == ["a.zip"]
