"""Stores with more shards than a process may have open files, and what reading leaves open."""

import os
import pickle
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from seitpp.storage import StoreReader, copy_store
from seitpp.storage.header import shard_entry, shard_name, write_header
from seitpp.storage.settings import StoreSettings

GRID, K, NUM = (1, 2), 400, 150


def tokens_of(num: int = NUM) -> np.ndarray:
    return np.random.default_rng(0).integers(0, K, (num, *GRID))


def write(path: Path, num: int = NUM, per_shard: int = 1) -> Path:
    """A store of many shards, whose header is written once: `StoreWriter` writes it anew for each."""
    options = {"codebook_size": K, "grid": GRID, "tokenizer": {"name": "toy"}, "label_kind": "class"}
    settings, tokens, shards = StoreSettings(**options, samples_per_shard=per_shard), tokens_of(num), []
    path.mkdir()
    for start in range(0, num, per_shard):
        part = np.arange(start, min(start + per_shard, num))
        name, content = shard_name(len(shards)), settings.encode_shard(tokens[part], part % 7)
        (path / name).write_bytes(content)
        shards.append(shard_entry(name, content, len(part)))
    write_header(path, {**settings.header(), "num_samples": num, "complete": True, "shards": shards})
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("many") / "s")


def open_files() -> int:
    return len(os.listdir("/proc/self/fd")) - 1  # without the one that lists them


@contextmanager
def limit(num_files: int) -> Iterator[None]:
    """Allow this process a number of files beyond those that it has open."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + num_files, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("room", [4, 30])
def test_more_shards_than_open_files(store: Path, tmp_path: Path, room: int) -> None:
    with limit(room):
        reader = StoreReader(store)
        assert len(reader.header["shards"]) == NUM
        indices = np.random.default_rng(1).integers(0, NUM, 400)
        np.testing.assert_array_equal(reader.read(indices), tokens_of()[indices])
        np.testing.assert_array_equal(reader.read_all(), tokens_of())
        np.testing.assert_array_equal(reader.labels, np.arange(NUM) % 7)
        assert reader.verify() == []
        copy_store(reader, tmp_path / "copy", codec="raw")
        others = [StoreReader(store) for _ in range(3)]  # they share the bound
        assert all((other.read(slice(None)) == tokens_of()).all() for other in others)


def test_files_are_closed_with_their_reader(store: Path) -> None:
    before = open_files()
    for _ in range(3):
        reader = StoreReader(store)
        assert open_files() == before  # opening keeps nothing open
        reader.read_all()
        assert open_files() > before
        reader.close()
        assert open_files() == before
        np.testing.assert_array_equal(reader.read([3]), tokens_of()[[3]])
        reader.read([3])
        assert str(store) in Path("/proc/self/maps").read_text()
        del reader
        assert open_files() == before and str(store) not in Path("/proc/self/maps").read_text()


def test_open_files_are_bounded(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seitpp.io.stable_file._MOST_OPEN", 8)
    before, readers = open_files(), [StoreReader(store) for _ in range(3)]
    for reader in readers:
        reader.read(slice(None, None, 2))
        assert open_files() <= before + 8
    again = pickle.loads(pickle.dumps(readers[0]))
    np.testing.assert_array_equal(again.read([NUM - 1, 0]), tokens_of()[[NUM - 1, 0]])
    assert open_files() <= before + 8


def test_threads_read_while_others_need_the_room(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seitpp.io.stable_file._MOST_OPEN", 2)
    reader, wrong = StoreReader(store), []

    def read(seed: int) -> None:
        rng = np.random.default_rng(seed)
        try:
            for _ in range(30):
                indices = rng.integers(0, NUM, 40)
                assert (reader.read(indices) == tokens_of()[indices]).all()
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_thread_waits_for_the_files_that_others_hold(store: Path) -> None:
    reader, taken = StoreReader(store), []

    def let_go() -> None:
        for number in taken:
            os.close(number)

    with limit(8):
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        other = threading.Timer(0.05, let_go)
        other.start()
        try:
            np.testing.assert_array_equal(reader.read([40, 3]), tokens_of()[[40, 3]])
        finally:
            other.join()


_FORKED = """
import os, resource, sys
import numpy as np
from seitpp.storage import StoreReader
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
reader = StoreReader(sys.argv[1])
expected = reader.read_all()
def child(seed):
    rng = np.random.default_rng(seed)
    for _ in range(20):
        indices = rng.integers(0, len(reader), 64)
        if (reader.read(indices) != expected[indices]).any():
            os._exit(1)
    os._exit(0 if len(os.listdir("/proc/self/fd")) <= 40 else 2)
children = []
for seed in range(3):
    if not (pid := os.fork()):
        child(seed)
    children.append(pid)
assert (reader.read(slice(None)) == expected).all()
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children))
"""


def test_forked_processes_read_what_their_parent_has_open(store: Path) -> None:
    assert subprocess.run([sys.executable, "-c", _FORKED, store], check=False).returncode == 0


def test_too_few_open_files_are_named(store: Path) -> None:
    reader = StoreReader(store)
    reader.read(slice(0, 10))
    with limit(8):
        taken = []
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        try:
            # Those of the reader itself make room,
            np.testing.assert_array_equal(reader.read(slice(20, 30)), tokens_of()[20:30])
            # until others have taken that, too.
            reader.close()
            with pytest.raises(OSError, match="Too many open files"):
                while True:
                    taken.append(os.open(os.devnull, os.O_RDONLY))
            expected = r"too many open files, the limit of this process is \d+ \(ulimit -n\); raise it .*shard-000"
            with pytest.raises(OSError, match=expected):
                reader.read([40])
            with pytest.raises(OSError, match=r"too many open files|Too many open files"):
                StoreReader(store)
        finally:
            for number in taken:
                os.close(number)
    np.testing.assert_array_equal(reader.read([40]), tokens_of()[[40]])


def test_labels_are_read_when_first_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "s", num=30)
    reader = StoreReader(path)
    shard = path / "shard-00003.bin"
    content = shard.read_bytes()
    shard.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert len(reader.read([0, 1])) == 2
    with pytest.raises(ValueError, match=r"shard-00003\.bin has changed since the store was opened"):
        _ = reader.labels


def test_pipe_in_the_place_of_a_shard_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "s", num=3)
    reader = StoreReader(path)
    (path / "shard-00001.bin").unlink()
    os.mkfifo(path / "shard-00001.bin")
    for read in (lambda: reader.read([1]), lambda: StoreReader(path)):
        with pytest.raises(ValueError, match=r"shard .*shard-00001\.bin is a pipe, expected a file"):
            read()


def test_of_many_bad_shards_some_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "s", num=30)
    for shard in sorted(path.glob("*.bin"))[:25]:
        shard.unlink()
    with pytest.raises(ValueError, match=r"shard-00000\.bin is missing; .*shard-00019\.bin is missing; and 5 more$"):
        StoreReader(path)


def test_reads_larger_than_a_batch_are_put_together(tmp_path: Path) -> None:
    reader, tokens = StoreReader(write(tmp_path / "s", num=5000, per_shard=1999)), tokens_of(5000)
    assert len(reader.header["shards"]) == 3
    np.testing.assert_array_equal(reader.read(slice(None)), tokens)
    np.testing.assert_array_equal(reader.read(slice(None, None, -1)), tokens[::-1])
    indices = np.random.default_rng(0).integers(0, 5000, 9000)
    np.testing.assert_array_equal(reader.read(indices), tokens[indices])


_LARGE = """
import os, resource, sys
import numpy as np
from seitpp.storage import StoreReader
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
reader = StoreReader(sys.argv[1])
assert len(reader.header["shards"]) == 10_000 and (reader.labels == np.arange(10_000) % 7).all()
expected = np.random.default_rng(0).integers(0, 400, (10_000, 1, 2))
assert (reader.read_all() == expected).all()
indices = np.random.default_rng(1).permutation(10_000)
assert (reader.read(indices) == expected[indices]).all() and reader.verify() == []
assert len(os.listdir("/proc/self/fd")) < 600
"""


@pytest.mark.slow
def test_ten_thousand_shards_under_the_usual_limit(tmp_path: Path) -> None:
    path = write(tmp_path / "s", num=10_000)
    subprocess.run([sys.executable, "-c", _LARGE, path], check=True)
