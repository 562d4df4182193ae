"""Delivery in a process: its interface, threads, forks and ends."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.interrupting import every_step
from support.profiling import just_as
from support.stats import adds_up

from koala_middleware.delivery import Delivery, DeliveryReport
from koala_middleware.delivery import delivery as delivery_module
from koala_middleware.delivery.outbox import durable, log, memory, segment
from koala_middleware.delivery.outbox.durable import DurableOutbox
from koala_middleware.delivery.outbox.memory import MemoryOutbox
from koala_middleware.delivery.sending import dispatcher
from koala_middleware.delivery.sending import threads as delivery_threads
from koala_middleware.protocol.batches import Batch

Deliver = Callable[..., Delivery]
MakeBatch = Callable[..., Batch]
Eventually = Callable[..., None]
RunPython = Callable[..., "subprocess.Popen[str]"]
Endpoint = Any  # conftest.py's; reaches tests as a fixture

# What is about sockets in forks and at the end holds for every kind of connection.
both = pytest.mark.parametrize("transport", ["http", "curl"])


def threads() -> set[threading.Thread]:
    """Those of earlier tests, which end meanwhile, are among them."""
    return {thread for thread in threading.enumerate() if thread.name == "koala-delivery"}


def finished(process: subprocess.Popen[str], seconds: float = 30) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out, err


def test_nothing_is_started_or_opened_before_the_first_put(deliver: Deliver, tmp_path: Path) -> None:
    before = threads()
    delivery = deliver(outbox=tmp_path / "outbox")
    assert delivery.stats().accepted == 0
    assert delivery.flush().complete
    assert delivery.close().complete
    assert threads() <= before
    assert not (tmp_path / "outbox").exists()


def test_an_idle_thread_ends_by_itself_and_the_next_put_starts_another(
    endpoint: Endpoint,
    deliver: Deliver,
    batch: MakeBatch,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivery_threads, "IDLE", 0.05)
    before = threads()
    delivery = deliver()
    delivery.put(batch("ada", 1))
    assert delivery.flush(10).complete
    eventually(lambda: threads() <= before)
    delivery.put(batch("ada", 2))
    assert endpoint.wait_for(lambda: endpoint.taken == ["1", "2"])


@both
def test_puts_from_many_threads_are_all_delivered_once(
    endpoint: Endpoint, deliver: Deliver, batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_threads, "IDLE", 0.001)  # threads come and go all the time
    delivery = deliver()

    def put(thread: int) -> None:
        for number in range(100):
            delivery.put(batch(f"person-{thread}", f"{thread}-{number}"))

    writers = [threading.Thread(target=put, args=(number,)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert delivery.flush(30).complete
    assert len(endpoint.taken) == len(set(endpoint.taken)) == 800
    assert delivery.stats().accepted == delivery.stats().delivered == 800


def test_clients_of_equal_configuration_share_one_sender(
    endpoint: Endpoint, deliver: Deliver, batch: MakeBatch
) -> None:
    first, second, other = deliver(), deliver(), deliver(concurrency=3)
    for number in range(10):
        first.put(batch("ada", f"a{number}"))
        second.put(batch("ada", f"b{number}"))
    other.put(batch("ada", "c"))
    assert first.flush(10).complete
    assert other.flush(10).complete
    assert first.stats().delivered == 20
    assert other.stats().delivered == 1
    assert first.close(1).complete
    second.put(batch("ada", "d"))
    assert second.flush(10).complete
    assert "d" in endpoint.taken


@pytest.mark.parametrize("outbox", [None, "outbox"])
def test_a_close_leaves_what_others_have_put_meanwhile(
    endpoint: Endpoint, deliver: Deliver, batch: MakeBatch, tmp_path: Path, outbox: str | None
) -> None:
    """A worker may make a client for each job, and close one while another speaks."""
    settings = {"flush_interval": 60, "outbox": tmp_path / outbox if outbox else None}
    mine, theirs = deliver(**settings), deliver(**settings)

    def reply(body: dict[str, Any]) -> Any:
        if body["profile_id"] == "ada":
            theirs.put(batch("bo", 2))
        return 200, {"ok": True}, {}

    endpoint.reply = reply
    mine.put(batch("ada", 1))
    assert mine.close(20).complete
    assert theirs.stats().waiting == 1
    assert theirs.close(20).complete
    assert endpoint.taken == ["1", "2"]
    assert theirs.stats().dropped == {}


def test_a_put_after_the_close_starts_anew(endpoint: Endpoint, deliver: Deliver, batch: MakeBatch) -> None:
    delivery = deliver()
    delivery.put(batch("ada", 1))
    assert delivery.close().complete
    assert delivery.close().complete
    delivery.put(batch("ada", 2))
    assert delivery.close().complete
    assert endpoint.taken == ["1", "2"]
    assert delivery.stats().delivered == 2


@both
def test_a_flush_ends_in_time_though_the_endpoint_hangs(
    endpoint: Endpoint, deliver: Deliver, batch: MakeBatch
) -> None:
    endpoint.hang()
    delivery = deliver()
    delivery.put(batch("ada", 1))
    report = delivery.flush(0.5)
    assert not report.complete
    assert (report.delivered, report.waiting) == (0, 1)
    assert 0.4 <= report.seconds < 2


def test_the_thread_of_a_closed_worker_that_hands_over_ends_though_its_entries_still_wait(
    deliver: Deliver, batch: MakeBatch, tmp_path: Path, eventually: Eventually
) -> None:
    before = threads()
    worker = deliver(outbox=tmp_path / "outbox", delivery="relay")
    worker.put(batch("ada", 1))
    worker.close()
    eventually(lambda: threads() <= before)
    assert worker.stats().waiting == 1


def test_a_worker_that_hands_over_sees_that_a_relay_is_through_though_nobody_says_more(  # noqa: PLR0917  (fixtures)
    endpoint: Endpoint,
    deliver: Deliver,
    batch: MakeBatch,
    tmp_path: Path,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(durable, "LOOK_AROUND", 0.1)
    monkeypatch.setattr(delivery_threads, "IDLE", 0.1)
    worker = deliver(outbox=tmp_path / "outbox", delivery="relay")
    worker.put(batch("ada", 1, 2))
    assert worker.stats().waiting == 2
    relay = deliver(outbox=tmp_path / "outbox")
    while not endpoint.taken:
        relay.adopt()
        relay.flush(0.1)
    eventually(lambda: worker.stats().waiting == 0)
    assert worker.stats().delivered == 2


def test_off_delivers_nothing_and_says_so(endpoint: Endpoint, deliver: Deliver, batch: MakeBatch) -> None:
    delivery = deliver(delivery="off")
    delivery.put(batch("ada", 1, 2))
    assert delivery.flush().complete
    assert delivery.stats().dropped == {"delivery off": 2}
    assert endpoint.posts == []


def test_inline_has_delivered_when_put_returns_and_starts_no_thread(
    endpoint: Endpoint, deliver: Deliver, batch: MakeBatch
) -> None:
    before = threads()
    delivery = deliver(delivery="inline", flush_interval=1)
    delivery.put(batch("ada", 1))
    assert endpoint.taken == ["1"]
    assert threads() <= before


@both
def test_inline_never_takes_longer_than_its_deadline(
    endpoint: Endpoint, deliver: Deliver, batch: MakeBatch
) -> None:
    endpoint.hang()
    delivery = deliver(delivery="inline", shutdown_timeout=0.3)
    began = time.monotonic()
    delivery.put(batch("ada", 1))
    assert time.monotonic() - began < 2
    assert delivery.stats().waiting == 1


@both
@pytest.mark.parametrize("outbox", [None, "outbox"])
def test_a_burst_and_an_immediate_exit_lose_nothing(
    endpoint: Endpoint, run_python: RunPython, outbox: str | None
) -> None:
    script = """
        for number in range(1050):
            delivery.put(batch(f"person-{number % 50}", number))
    """
    status, _, err = finished(run_python(script, flush_interval=1, outbox=outbox))
    assert (status, err) == (0, "")
    assert sorted(map(int, endpoint.taken)) == list(range(1050))


@both
def test_the_end_still_has_the_connection_that_was_kept(endpoint: Endpoint, run_python: RunPython) -> None:
    """Libraries have ends of their own, and one that runs before ours must not take it away."""
    script = """
        delivery.put(batch("ada", 1))
        assert delivery.flush(10).complete
        delivery.put(batch("ada", 2))
    """
    status, _, err = finished(run_python(script, flush_interval=60, concurrency=1))
    assert (status, err) == (0, "")
    assert endpoint.taken == ["1", "2"]
    assert endpoint.connections == 1


def test_a_celery_child_that_is_recycled_sends_what_waits_before_it_leaves(
    endpoint: Endpoint, run_python: RunPython
) -> None:
    """It ends by os._exit, so nothing of Python's own end runs."""
    script = """
        from celery import signals
        delivery.put(batch("ada", 1))
        signals.worker_process_shutdown.send(sender=None, pid=os.getpid(), exitcode=0)
        os._exit(0)
    """
    status, _, err = finished(run_python(script, flush_interval=60))
    assert (status, err) == (0, "")
    assert endpoint.taken == ["1"]


@both
@pytest.mark.parametrize("trouble", ["hang", "down", "500"])
def test_the_end_takes_two_seconds_at_most_and_says_exactly_what_is_lost(
    endpoint: Endpoint, run_python: RunPython, trouble: str
) -> None:
    endpoint.answer(500)
    if trouble == "hang":
        endpoint.hang()
    settings = {"endpoint": "http://127.0.0.1:9"} if trouble == "down" else {}
    script = """
        for number in range(123):
            delivery.put(batch(f"person-{number % 5}", number))
        print(time.time(), flush=True)
    """
    status, out, err = finished(run_python(script, **settings))
    assert time.time() - float(out) < 2.5 + 1, "the exit took too long"  # one second for a slow machine
    assert status == 0
    lost, unanswered = map(int, re.findall(r"(\d+) (?:entries are lost|more)", err + "0 more")[:2])
    assert lost + unanswered == 123
    assert (unanswered > 0) == (trouble == "hang")
    assert len(err.splitlines()) <= 2


def test_with_a_durable_outbox_the_end_loses_nothing_and_the_next_start_delivers(
    endpoint: Endpoint, run_python: RunPython
) -> None:
    endpoint.answer(500)
    script = """
        for number in range(123):
            delivery.put(batch(f"person-{number % 5}", number))
    """
    status, _, err = finished(run_python(script, outbox="outbox"))
    assert status == 0
    assert "123 entries are kept" in err
    endpoint.answer(200)
    finished(run_python("delivery.put(batch('ada', 'new'))", outbox="outbox"))
    assert len(endpoint.taken) == len(set(endpoint.taken)) == 124


@pytest.mark.parametrize("seed", range(4))
def test_a_killed_process_loses_nothing_that_was_put(
    endpoint: Endpoint, run_python: RunPython, seed: int
) -> None:
    endpoint.answer(500 if seed % 2 else 200)
    process = run_python(
        """
        for number in range(100_000):
            delivery.put(batch(f"person-{number % 5}", number))
            if number % 50 == 0:
                print(number, flush=True)
        """,
        outbox="outbox",
    )
    assert process.stdout is not None
    last = 0
    for line in process.stdout:
        last = int(line)
        if last >= 200 + seed * 777:
            break
    process.kill()
    process.wait()
    process.communicate()
    endpoint.answer(200)
    finished(
        run_python(
            "delivery.flush(60)\ndelivery.put(batch('ada', 'new'))\ndelivery.flush(60)", outbox="outbox"
        ),
        90,
    )
    arrived = {int(id_) for id_ in endpoint.taken if id_ != "new"}
    assert set(range(last + 1)) <= arrived


@both
@pytest.mark.parametrize("outbox", [None, "outbox"])
def test_after_a_fork_parent_and_children_deliver_what_is_theirs_once(
    endpoint: Endpoint, run_python: RunPython, outbox: str | None
) -> None:
    script = """
        delivery.put(batch("parent", "before"))
        delivery.flush()
        delivery.put(batch("parent", "waiting"))
        for child in range(5):
            if os.fork() == 0:
                assert delivery.stats().accepted == 0
                for number in range(20):
                    delivery.put(batch("child", f"child-{child}-{number}"))
                sys.exit()
        for child in range(5):
            assert os.wait()[1] == 0
        delivery.put(batch("parent", "after"))
    """
    status, _, err = finished(run_python(script, flush_interval=0.2, outbox=outbox))
    assert (status, err) == (0, "")
    assert len(endpoint.taken) == len(set(endpoint.taken)) == 103


@both
def test_a_child_that_ends_leaves_the_parents_connection_alone(
    endpoint: Endpoint, run_python: RunPython
) -> None:
    script = """
        delivery.put(batch("parent", "before"))
        assert delivery.flush(10).complete
        if os.fork() == 0:
            delivery.put(batch("child", "child"))
            assert delivery.flush(10).complete
            sys.exit()
        assert os.wait()[1] == 0
        delivery.put(batch("parent", "after"))
        assert delivery.flush(10).complete
    """
    status, _, err = finished(run_python(script, concurrency=1))
    assert (status, err) == (0, "")
    assert endpoint.taken == ["before", "child", "after"]
    assert endpoint.connections == 2


def test_a_child_that_leaves_without_a_word_does_not_take_the_parents_entries(
    endpoint: Endpoint, run_python: RunPython
) -> None:
    """os._exit skips every handler: what the child put is on disk, and the parent takes it over."""
    script = """
        delivery.put(batch("parent", "parent"))
        if os.fork() == 0:
            delivery.put(batch("child", "child"))
            os._exit(0)
        os.wait()
        delivery.flush(10)
    """
    status, _, err = finished(run_python(script, flush_interval=1, outbox="outbox"))
    assert (status, err) == (0, "")
    assert sorted(endpoint.taken) == ["child", "parent"]


@pytest.mark.parametrize("handler", ["sys.exit", "delivery.close"])
def test_a_signal_in_the_middle_of_puts_ends_in_order(
    endpoint: Endpoint, run_python: RunPython, handler: str
) -> None:
    process = run_python(
        f"""
        def ended(*_):
            {"pass" if handler == "sys.exit" else "delivery.close()"}
            os.write(1, str(number).encode())  # a second print, within the one below, would raise
            sys.exit(0)
        signal.signal(signal.SIGTERM, ended)
        for number in range(10_000_000):
            delivery.put(batch(f"person-{{number % 5}}", number))
            if number == 500:
                print("ready", flush=True)
            if number > 1000:
                time.sleep(0.001)
        """,
        flush_interval=0.05,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    status, out, _ = finished(process)
    assert status == 0
    assert set(range(int(out))) <= {int(id_) for id_ in endpoint.taken}


@pytest.mark.parametrize("outbox", [None, "outbox"])
@pytest.mark.parametrize("how", ["thread", "inline"])
def test_a_close_at_any_step_of_a_put_of_its_own_thread_delivers_what_was_put_before(  # noqa: PLR0917  (fixtures)
    endpoint: Endpoint, deliver: Deliver, batch: MakeBatch, tmp_path: Path, outbox: str | None, how: str
) -> None:
    """As in a handler of SIGTERM: whatever the interrupted put holds, nobody may wait for it."""
    for step in every_step(memory, durable, log, segment, dispatcher, delivery_threads, delivery_module):
        number = step.number
        directory = tmp_path / outbox / str(number) if outbox else None
        delivery = deliver(outbox=directory, flush_interval=60 + number, delivery=how)
        delivery.put(batch("before", f"{number}-before"))
        began = time.monotonic()
        with step.interrupted_by(partial(close, delivery)):
            delivery.put(batch("bo", f"{number}-within"))
        assert time.monotonic() - began < 10
        if step.came:
            assert f"{number}-before" in endpoint.taken
        assert delivery.close(20).complete
        assert f"{number}-within" in endpoint.taken
        assert adds_up(delivery)
    assert number > 5


@pytest.mark.parametrize("outbox", [None, "outbox"])
def test_a_close_in_the_middle_of_a_put_waits_for_what_others_have_on_their_way(
    endpoint: Endpoint, deliver: Deliver, batch: MakeBatch, tmp_path: Path, outbox: str | None
) -> None:
    """What a person said next waits for that answer, which a thread of delivery's brings."""
    asked, closing = held_back(endpoint)
    delivery = deliver(outbox=tmp_path / outbox if outbox else None)
    delivery.put(batch("ada", 0))
    assert asked.wait(20)
    delivery.put(batch("ada", 1))
    reports: list[DeliveryReport] = []

    def close() -> None:
        if not reports:
            closing.set()
            reports.append(delivery.close(20))

    put = DurableOutbox.put if outbox else MemoryOutbox.put
    with just_as(put, close):
        delivery.put(batch("ada", 2))
    (report,) = reports
    assert report.complete
    assert report.delivered == 2
    assert endpoint.taken[:2] == ["0", "1"]
    assert delivery.close(20).complete
    assert endpoint.taken == ["0", "1", "2"]


@pytest.mark.parametrize("outbox", [None, "outbox"])
def test_a_handler_that_raises_at_any_step_of_a_put_costs_no_entry_that_others_have_put(
    endpoint: Endpoint, deliver: Deliver, batch: MakeBatch, tmp_path: Path, outbox: str | None
) -> None:
    """As Ctrl-C does, in whatever request it happens to come: no lock stays taken, nobody waits for ever."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    for step in every_step(memory, durable, log, segment, dispatcher, delivery_threads):
        number = step.number
        directory = tmp_path / outbox / str(number) if outbox else None
        delivery = deliver(outbox=directory, flush_interval=60 + number)
        delivery.put(batch("ada", f"{number}-before"))
        with suppress(KeyboardInterrupt), step.interrupted_by(interrupt):
            delivery.put(batch("bo", f"{number}-within"))
        delivery.put(batch("ada", f"{number}-after"))
        assert delivery.close(20).complete
        assert {f"{number}-before", f"{number}-after"} <= set(endpoint.taken)
        assert adds_up(delivery)


def close(delivery: Delivery) -> None:
    delivery.close(20)


def held_back(endpoint: Endpoint) -> tuple[threading.Event, threading.Event]:
    """Somebody has asked; and from when on there are answers."""
    asked, from_now_on = threading.Event(), threading.Event()

    def reply(_: object) -> Any:
        asked.set()
        from_now_on.wait(20)
        return 200, {"ok": True}, {}

    endpoint.reply = reply
    return asked, from_now_on


@both
def test_importing_delivery_loads_no_http_client(run_python: RunPython) -> None:
    status, out, err = finished(run_python("print({'requests', 'pycurl'} & {*sys.modules})", delivery="off"))
    assert (status, out, err) == (0, "set()\n", "")


@pytest.mark.parametrize("outbox", [None, "outbox"])
def test_the_first_entry_loads_nothing_that_its_request_would_wait_for(
    run_python: RunPython, outbox: str | None
) -> None:
    script = """
        before = {*sys.modules}
        delivery.put(batch("ada", 1))
        print(sorted(name for name in {*sys.modules} - before if name.startswith("koala_middleware")), flush=True)
        os._exit(0)
    """
    status, out, err = finished(run_python(script, outbox=outbox))
    assert (status, out, err) == (0, "[]\n", "")


def test_the_pid_is_checked_even_where_no_fork_hook_ran(
    endpoint: Endpoint, deliver: Deliver, batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery = deliver()
    delivery.put(batch("ada", 1))
    assert delivery.flush(10).complete
    with monkeypatch.context() as patched:
        patched.setattr(os, "getpid", lambda: 0)
        assert delivery.stats().accepted == 0
        delivery.put(batch("ada", 2))
        assert delivery.flush(10).complete
    assert endpoint.taken == ["1", "2"]
