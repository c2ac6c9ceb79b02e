"""Progress: what is counted, and what is shown. No test depends on a clock."""

import io
import os
import pty
import subprocess
import sys
import threading
import time

import pytest
from conftest import ENGLISH

import nzip
from nzip import _predict, nzipfile, progress, stream
from nzip.cli import job as jobs
from nzip.progress import Estimate, View


def simulate(blocks, threads, speed, total=None):
    """Views of ``blocks`` coded by threads of that speed each, with the true remaining time."""
    total = sum(blocks) if total is None else total
    waiting, running, now, done = [*blocks], [], 0.0, 0
    out = []
    while waiting or running:
        while waiting and len(running) < threads:
            running.append([waiting.pop(0), 0])
        ahead = waiting[:1]
        pending = [size - seen for size, seen in running] + ahead
        seen = sum(part for _, part in running)
        out.append((now, View(done + seen, total, pending, max(blocks), threads)))
        now += 0.2
        for job in running:
            job[1] = min(job[0], job[1] + speed // 5)
        done += sum(size for size, seen in running if seen == size)
        running = [job for job in running if job[1] < job[0]]
    return out, now


@pytest.mark.parametrize(
    ("blocks", "threads"),
    [([4000], 1), ([4000] * 3 + [700], 1), ([4000] * 9, 4), ([4000] * 5 + [100], 4), ([4000], 4)],
)
def test_speed_and_time_left_are_right_from_the_second_look_on(blocks, threads):
    views, end = simulate(blocks, threads, 1000)
    estimate = Estimate()
    for k, (now, view) in enumerate(views):
        speed, left = estimate.take(now, view)
        if k < 2:
            continue
        assert left == pytest.approx(end - now, rel=0.1, abs=0.25)
        assert speed == pytest.approx(view.done / now)


def test_time_before_the_first_byte_counts_as_none():
    estimate = Estimate()
    assert estimate.take(0, View(0, 1000)) == (None, None)
    assert estimate.take(5, View(0, 1000)) == (None, None)
    assert estimate.take(6, View(100, 1000)) == (100, 9)


def test_a_stage_counts_anew():
    estimate = Estimate()
    estimate.take(0, View(0, 1000))
    estimate.take(1, View(1000, 1000))
    assert estimate.take(2, View(0, 1000, stage="verifying")) == (None, None)
    assert estimate.take(4, View(500, 1000, stage="verifying")) == (250, 2)


def test_without_a_total_there_is_a_speed_and_no_time_left():
    estimate = Estimate()
    estimate.take(0, View(0))
    view = View(2048)
    assert estimate.take(2, view) == (1024, None)
    assert progress.describe(view, 1024, None) == "2.0 KiB, 1.0 KiB/s"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (99, "99 s"), (100, "1:40"), (3661, "1:01:01")]
)
def test_times_left_are_readable(seconds, text):
    assert progress.clock(seconds) == text


class Looker(threading.Thread):
    """Call ``look`` repeatedly until the ``with`` block ends."""

    def __init__(self, look):
        super().__init__()
        self.look, self.seen, self.over = look, [], threading.Event()

    def __enter__(self):
        self.start()
        return self.seen

    def __exit__(self, *error):
        self.over.set()
        self.join()

    def run(self):
        while not self.over.wait(0.002):
            self.seen.append(self.look())


@pytest.mark.parametrize("threads", [1, 2])
def test_done_never_falls_and_adds_up_with_what_is_pending(threads):
    text = ENGLISH * 2000
    sizes = jobs.Sizes()
    job = jobs.Job(lambda: nzip.Compressor(level=1, block_size=1 << 16, threads=threads), threads)
    for source, worker in ((text, job), (nzip.compress(text, level=1), jobs.Job(None, threads))):
        sizes.begin("")
        with Looker(lambda: sizes.view(len(text))) as seen:
            out = b"".join(worker.transform(io.BytesIO(source), sizes))
        counts = [view.done for view in seen]
        assert counts == sorted(counts)
        assert len(set(counts)) > 10
        assert sizes.view(len(text)).done == len(text)
        assert all(left >= 0 for view in seen for left in view.pending)
        ratios = {view.ratio for view in seen} - {None}
        assert ratios or worker is not job
    assert out == text


def test_the_samples_of_a_prior_are_not_counted_as_content():
    prior = nzip.Prior(ENGLISH * 400)  # longer than the data
    text = b"something else than the samples. " * 1000
    for make in (
        lambda: stream.Compressor(prior=prior, threads=1),
        lambda: stream.Decompressor(threads=1),
    ):
        worker = make()
        with Looker(lambda worker=worker: worker.done) as seen:
            if isinstance(worker, stream.Compressor):
                packed = worker.compress(text) + worker.flush()
            else:
                assert worker.decompress(packed) == text
        assert seen == sorted(seen)
        assert max(seen) <= worker.done == len(text)


def test_work_that_reads_a_prior_can_be_stopped():
    prior = nzip.Prior(os.urandom(3 << 20))
    compressor = stream.Compressor(prior=prior, threads=2, block_size=1 << 16)
    compressor.compress(ENGLISH * 400)  # a block starts, after seconds of samples
    job = compressor.workers._jobs[0]
    while job.watch.samples is None:
        time.sleep(0.01)
    compressor.close()
    assert job.watch.samples.stopped
    with pytest.raises(_predict.Stopped):
        job.work.result(60)


def on_a_terminal(*args, cwd):
    """What a command shows on a terminal of 100 columns."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "nzip", *args],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "100", "TERM": "xterm"},
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            data = os.read(leader, 4096)
        except OSError:
            break
        if not data:
            break
        shown += data
    os.close(leader)
    assert process.wait(60) == 0, shown
    return shown.decode()


def test_a_file_of_one_block_shows_a_bar_and_then_its_verification(tmp_path):
    text = ENGLISH * 100
    (tmp_path / "text").write_bytes(text)
    shown = on_a_terminal("compress", "-9", "-T1", "--rm", "text", cwd=tmp_path)
    size = progress.human(len(text))
    assert f"% of {size}" in shown
    assert "/s, " in shown
    assert " left" in shown
    assert "text (verifying)" in shown
    ratio = len(text) / (tmp_path / "text.nz").stat().st_size
    shown = on_a_terminal("-d", "-T1", "--recover", "text.nz", cwd=tmp_path)
    assert f"% of {size}, ratio {ratio:.3f}" in shown
    assert (tmp_path / "text").read_bytes() == text


def test_a_range_shows_a_bar_for_the_blocks_that_hold_it(tmp_path):
    text = ENGLISH * 400
    data = nzip.compress(text, level=9, threads=2, block_size=1 << 16)
    (tmp_path / "text.nz").write_bytes(data * 2)
    start, length = len(text) + 10_000, 5000
    args = ("-d", "text.nz", "-o", "part", "--range", f"{start}:{length}")
    shown = on_a_terminal(*args, cwd=tmp_path)
    assert "% of 64.0 KiB" in shown
    assert (tmp_path / "part").read_bytes() == (text * 2)[start : start + length]
    (tmp_path / "part").unlink()
    assert "%" not in on_a_terminal(*args, "--no-progress", cwd=tmp_path)


def test_what_a_range_decodes_is_counted_once():
    text = ENGLISH * 1000
    data = nzip.compress(text, level=1, block_size=1 << 16) * 2
    text, size = text * 2, 2 * len(text)
    for start, length in ((0, size), (1, size), (size - 1, 1), (size // 2, 70_000)):
        with nzip.open(io.BytesIO(data)) as file:
            file.seek(start)
            look = nzipfile.follow_part(file, start, length)
            assert look().done == 0
            with Looker(look) as seen:
                assert file.read(length) == text[start : start + length]
            done = [view.done for view in seen]
            assert done == sorted(done)
            view = look()
            assert view.done == view.total
            assert length <= view.total < length + (1 << 17) or view.total == size


def test_detokenizing_shows_a_bar(tmp_path):
    text = ENGLISH * 3000
    (tmp_path / "text").write_bytes(text)
    on_a_terminal("tokenize", "text", "-o", "text.bin", "--tokenization", "ac", cwd=tmp_path)
    shown = on_a_terminal("detokenize", "text.bin", "-o", "back", cwd=tmp_path)
    assert f"% of {progress.human(len(text))}" in shown
    assert (tmp_path / "back").read_bytes() == text
