import pytest

from myosotis.data.image_folders import read_image_folder
from myosotis.data.instance_lists import read_instance_list
from myosotis.engine.errors import InputError


def test_instance_list(folder, tmp_path):
    known = read_image_folder(folder)
    path = tmp_path / "list.txt"
    path.write_text("# to go\ndog/deep/c.png\n\ncat/a.png  # mine\n")
    assert read_instance_list(path, known) == [2, 0]
    path.write_text("cat/a.png\ncat/z.png\n")
    with pytest.raises(InputError, match=r"list.txt, line 2: no such image: cat/z.png"):
        read_instance_list(path, known)
    path.write_text("cat/a.png\ncat/a.png\n")
    with pytest.raises(InputError, match="line 2: cat/a.png is listed twice"):
        read_instance_list(path, known)
    path.write_text("# nothing\n")
    with pytest.raises(InputError, match="names no image"):
        read_instance_list(path, known)
    with pytest.raises(InputError, match="no such instance list"):
        read_instance_list(tmp_path / "none", known)
