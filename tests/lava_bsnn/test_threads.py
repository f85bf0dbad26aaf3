"""Work shared among threads: of torch's team, of a pool, in a fork."""

from __future__ import annotations

import os
import threading

import pytest
import torch

from lava_bsnn.functional import threads

LARGE = 1 << 20


@pytest.fixture(params=["team", "pool"])
def kind(request, monkeypatch):
    torch.zeros(1 << 20).add_(1)  # the team is there
    if request.param == "pool":
        monkeypatch.setattr(threads, "_team", lambda: None)
    elif threads._team() is None:
        pytest.skip("torch has another OpenMP than GNU's here")
    before = torch.get_num_threads()
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("items", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_every_item_is_worked_on_once(kind, count, items):
    torch.set_num_threads(count)
    spans = threads.share(lambda start, stop: (start, stop), items, LARGE)
    assert sorted(i for span in spans for i in range(*span)) == list(range(items))
    assert len(spans) <= min(count, items)


def test_several_threads_work_at_once(kind):
    torch.set_num_threads(2)
    both = threading.Barrier(2, timeout=20)  # passes if two are there at the same time
    threads.share(lambda start, stop: both.wait(), 2, LARGE)


def test_small_work_stays_in_its_thread(kind):
    torch.set_num_threads(2)
    assert threads.share(lambda start, stop: threading.get_ident(), 8, 100) == [threading.get_ident()]


def test_an_error_reaches_the_caller(kind):
    torch.set_num_threads(2)

    def work(start, stop):
        raise KeyError(start)

    with pytest.raises(KeyError):
        threads.share(work, 2, LARGE)
    assert len(threads.share(lambda start, stop: 1, 2, LARGE)) == 2


def test_torch_computes_as_before(kind):
    torch.set_num_threads(2)
    x = torch.rand(1 << 20)
    expected = (x * 2).sum()
    for _ in range(20):
        threads.share(lambda start, stop: start, 2, LARGE)
        torch.testing.assert_close((x * 2).sum(), expected)


@pytest.mark.lava
def test_a_fork_makes_a_pool(kind):
    torch.set_num_threads(2)
    threads.share(lambda start, stop: start, 2, LARGE)
    child = os.fork()
    if not child:
        found = threads.share(lambda start, stop: stop - start, 4, LARGE)
        os._exit(0 if sum(found) == 4 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
