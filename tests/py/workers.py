"""Runs the tests in a few processes side by side: most of a launch is waiting.

Workers are forked after collection. They take one test function (with all its parameters)
at a time, and before them the files that are marked `together`, each as a whole.
TEST_JOBS sets their number; 1, or an option that needs order (-x, -s, --pdb), gives
pytest's own loop."""

import itertools
import multiprocessing
import os
from multiprocessing.connection import wait

import pytest


class Forwarder:
    """In a worker: sends reports to the parent."""

    def __init__(self, config, out):
        self.config, self.out = config, out

    def pytest_runtest_logreport(self, report):
        self.out.send(self.config.hook.pytest_report_to_serializable(config=self.config,
                                                                     report=report))


def work(session, groups, todo, out):
    """A worker's life: groups of items from `todo` until there are none."""
    plugins = session.config.pluginmanager
    plugins.unregister(name="terminalreporter")
    plugins.register(Forwarder(session.config, out))
    group = todo.get()
    while group is not None:
        items = groups[group]
        group = todo.get()  # the next one decides which fixtures are kept
        following = groups[group][:1] if group is not None else [None]
        for item, after in zip(items, [*items[1:], *following]):
            session.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
    out.send(None)


def group_of(item):
    together = item.get_closest_marker("together") is not None
    return not together, str(item.path), None if together else item.originalname


def pytest_runtestloop(session):
    option = session.config.option
    groups = [list(items) for _, items in itertools.groupby(
        sorted(session.items, key=lambda item: group_of(item)[:2]), group_of)]
    jobs = min(int(os.environ.get("TEST_JOBS", 4)), len(groups))
    if (jobs < 2 or option.collectonly or option.usepdb or option.maxfail
            or option.capture == "no" or session.testsfailed):
        return None
    session.config._tmp_path_factory.getbasetemp()  # one for all workers
    context = multiprocessing.get_context("fork")
    todo = context.SimpleQueue()
    for group in [*range(len(groups)), *[None] * jobs]:
        todo.put(group)
    outs, processes = [], []
    for _ in range(jobs):
        out, end = context.Pipe(duplex=False)
        processes.append(context.Process(target=work, args=(session, groups, todo, end)))
        processes[-1].start()
        end.close()
        outs.append(out)
    while outs:
        for out in wait(outs):
            try:
                data = out.recv()
            except EOFError:
                pytest.exit("a worker of the tests died", returncode=3)
            if data is None:
                outs.remove(out)
                continue
            session.config.hook.pytest_runtest_logreport(
                report=session.config.hook.pytest_report_from_serializable(
                    config=session.config, data=data))
    for process in processes:
        process.join()
    return True
