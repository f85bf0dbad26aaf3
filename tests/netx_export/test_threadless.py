from __future__ import annotations

import threading
import time
from multiprocessing import shared_memory
from types import SimpleNamespace

import numpy as np
import pytest
from lava.magma.compiler.channels.pypychannel import PyPyChannel

from netx_export.backends import threadless
from netx_export.backends.threadless import RecvPort, SendPort

SLOTS = 3


@pytest.fixture
def ends():
    """Make the two ends of a channel of ``SLOTS`` slots, each threadless or Lava's own."""
    memories, ports = [], []

    def create(size):
        memories.append(shared_memory.SharedMemory(create=True, size=size))
        return memories[-1]

    def make(sends, receives):
        infrastructure = SimpleNamespace(smm=SimpleNamespace(create_shared_memory=create))
        channel = PyPyChannel(infrastructure, "from", "to", (2, 3), np.int32, SLOTS)
        ports.extend((channel.src_port, channel.dst_port))
        if sends:
            threadless._convert(channel.src_port)
        if receives:
            threadless._convert(channel.dst_port)
        for port in (channel.src_port, channel.dst_port):
            port.start()
        return channel.src_port, channel.dst_port

    yield make
    for port in ports:
        port.join()
        port._array = []
    for memory in memories:
        memory.close()
        memory.unlink()


KINDS = pytest.mark.parametrize(("sends", "receives"), [(True, True), (True, False), (False, True)])


@KINDS
def test_messages_arrive_in_order_whoever_is_faster(ends, sends, receives):
    source, target = ends(sends, receives)
    sent = np.random.default_rng(0).integers(-9, 9, (60, 2, 3)).astype(np.int32)

    def send():
        for i, message in enumerate(sent):
            time.sleep(2e-3 * (i >= 30))  # first faster than the receiver, then slower
            source.send(message)

    thread = threading.Thread(target=send)
    thread.start()
    received = []
    for i in range(len(sent)):
        time.sleep(2e-3 * (i < 30))
        received.append(target.recv())
    thread.join()
    np.testing.assert_array_equal(received, sent)


@KINDS
def test_a_full_channel_makes_the_sender_wait(ends, sends, receives):
    source, target = ends(sends, receives)
    for _ in range(SLOTS):
        assert source.probe()
        source.send(np.zeros((2, 3), np.int32))
    assert not source.probe()
    thread = threading.Thread(target=source.send, args=(np.ones((2, 3), np.int32),))
    thread.start()
    thread.join(timeout=0.05)
    assert thread.is_alive()
    assert not target.recv().any()
    thread.join(timeout=5)
    assert not thread.is_alive()
    assert [target.recv().sum() for _ in range(SLOTS)] == [0, 0, 6]


def test_an_empty_channel_is_probed_and_a_message_may_be_looked_at(ends):
    source, target = ends(True, True)
    assert not target.probe()
    source.send(np.full((2, 3), 7, np.int32))
    assert target.probe()
    assert (target.peek() == 7).all()
    assert (target.recv() == 7).all()
    assert not target.probe()


def test_what_is_received_does_not_change_later(ends):
    source, target = ends(True, True)
    source.send(np.ones((2, 3), np.int32))
    received = target.recv()
    for _ in range(SLOTS):
        source.send(np.zeros((2, 3), np.int32))
    assert received.all()


def test_a_message_of_another_shape_is_refused(ends):
    source, _ = ends(True, True)
    with pytest.raises(AssertionError, match=r"from: shape \(3, 2\) does not fit; use \(2, 3\)"):
        source.send(np.zeros((3, 2), np.int32))


def test_no_thread_is_started(ends):
    before = threading.active_count()
    source, target = ends(True, True)
    assert isinstance(source, SendPort)
    assert isinstance(target, RecvPort)
    assert threading.active_count() == before
