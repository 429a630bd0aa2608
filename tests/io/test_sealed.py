import json
from math import inf

import pytest

from crystalgraph.io.sealed import read_sealed, write_sealed

CONTENT = {"energy": -8.123456789012345, "reason": "Å", "structure": None, "steps": [1, 2]}


@pytest.mark.parametrize("content", [CONTENT, [], None, 0.1, "\ud800"])
def test_what_is_written_is_read_and_is_json(tmp_path, content):
    write_sealed(tmp_path / "a.json", content)
    assert read_sealed(tmp_path / "a.json") == content
    assert json.loads((tmp_path / "a.json").read_bytes())["content"] == content


def test_no_byte_can_be_changed_added_or_lost(tmp_path):
    file = tmp_path / "a.json"
    write_sealed(file, CONTENT)
    whole = file.read_bytes()
    changed = [whole[:k] + bytes([whole[k] ^ 1 << k % 8]) + whole[k + 1 :] for k in range(len(whole))]
    for data in (*changed, *(whole[:k] for k in range(0, len(whole), 5)), whole + b"\n", whole[:-1] + b" \n"):
        file.write_bytes(data)
        with pytest.raises(ValueError, match="its checksum does not fit"):
            read_sealed(file)


def test_other_json_is_not_believed(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"sha256": "0" * 64, "content": CONTENT}))
    with pytest.raises(ValueError, match="its checksum does not fit"):
        read_sealed(tmp_path / "a.json")
    with pytest.raises(FileNotFoundError):
        read_sealed(tmp_path / "b.json")
    with pytest.raises(ValueError, match="JSON"):
        write_sealed(tmp_path / "b.json", [inf])
