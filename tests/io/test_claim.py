import os
import signal
import subprocess
import sys

import pytest

from crystalgraph.errors import InputError
from crystalgraph.io.atomic import check_free, new_folder
from crystalgraph.io.claim import claimed

HOLD = """
import sys, time
from pathlib import Path
from crystalgraph.io.claim import claimed
with claimed(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_second_is_refused_and_the_third_is_not(tmp_path):
    out = tmp_path / "runs" / "one"
    with claimed(out):
        with pytest.raises(InputError, match=r"another run is writing to .*one; wait"), claimed(out):
            pass
        with claimed(out.with_name("two")):
            pass
        with pytest.raises(InputError, match="another run"), claimed(tmp_path / "runs" / ".." / "runs" / "one"):
            pass
    assert names(tmp_path) == [], "what was made to hold the lock is gone"
    with claimed(out), new_folder(out):
        pass
    assert names(tmp_path / "runs") == ["one"]
    with claimed(None), claimed(None):
        pass


@pytest.mark.slow
def test_a_run_that_was_killed_leaves_no_lock(tmp_path):
    out = tmp_path / "one"
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(out)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    with pytest.raises(InputError, match="another run"), claimed(out):
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with claimed(out):
        pass
    assert names(tmp_path) == []


def test_what_killed_runs_left_half_written_is_removed_and_nothing_else(tmp_path):
    gone = [".run.abcd_123.partial", "run/.a.json.77.part", "run/deep/.b.77.part", "run.partial/.c.8.part"]
    kept = [".run.b.abcd_123.partial", ".runs.abcd_123.partial", "run/a.part", "run/.a.json.x.part", ".a.8.part"]
    for name in (*gone, *kept):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".partial"):
            (tmp_path / name / "run").mkdir(parents=True)
        else:
            (tmp_path / name).touch()
    with claimed(tmp_path / "run"):
        pass
    assert [name for name in (*gone, *kept) if os.path.lexists(tmp_path / name)] == kept


def test_a_place_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is not a folder one can write to"), claimed(tmp_path / "file" / "out"):
        pass


@pytest.mark.parametrize("length", [210, 240, 255])
def test_long_names(tmp_path, length):
    out = tmp_path / ("å" * (length // 2))
    if length > 240:
        for refuse in (check_free, lambda it: claimed(it).__enter__()):
            with pytest.raises(InputError, match="too long a name"):
                refuse(out)
        return
    with claimed(out):
        check_free(out)
        with new_folder(out) as folder:
            (folder / "a").touch()
    assert names(tmp_path) == [out.name]
