import pytest

from crystalgraph.errors import InputError
from crystalgraph.io.cache import cache_folder


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("CRYSTALGRAPH_CACHE", str(tmp_path))
    assert cache_folder("part") == tmp_path / "part"
    assert cache_folder("part", tmp_path / "other") == tmp_path / "other" / "part"
    monkeypatch.delenv("CRYSTALGRAPH_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder("part") == tmp_path / ".cache" / "crystalgraph" / "part"
    assert cache_folder("part").is_dir()


def test_a_cache_that_cannot_be_used_names_the_way_out(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("CRYSTALGRAPH_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"cannot be written to \(.*\); name another one with CRYSTALGRAPH_CACHE"):
        cache_folder("part")
    monkeypatch.setenv("CRYSTALGRAPH_CACHE", "~no-such-user/cache")
    with pytest.raises(InputError, match=r"no cache folder: .* Name one with CRYSTALGRAPH_CACHE"):
        cache_folder("part")
    assert cache_folder("part", tmp_path / "given") == tmp_path / "given" / "part"


def test_a_cache_that_is_full_or_read_only_is_found_before_the_work(monkeypatch, tmp_path):
    def full(**_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("crystalgraph.io.cache.TemporaryFile", full)
    with pytest.raises(InputError, match="Read-only file system"):
        cache_folder("part", tmp_path)
