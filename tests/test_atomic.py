"""A file appears complete under its name or not at all."""

import pytest

from scan_core.errors import DiskFullError
from scan_core.storage.atomic import atomic_path, write_text


def test_a_failure_leaves_what_was_there(tmp_path):
    target = tmp_path / "folder/table.csv"
    write_text(target, "old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(target.parent.iterdir()) == [target]


def test_a_full_disk_is_said_with_the_file_and_what_to_do(tmp_path):
    target = tmp_path / "table.csv"
    with (
        pytest.raises(DiskFullError, match=r"disk is full: .*table\.csv .* Free some space"),
        atomic_path(target) as temporary,
    ):
        temporary.symlink_to("/dev/full")
        temporary.write_text("anything")
    assert list(tmp_path.iterdir()) == []
