"""The Hub library's progress bars: their bytes are reported, and nothing else comes of them."""

import threading

from tulu_cli.models.hub import silent_bar


def test_bytes_are_reported_from_whichever_bar_is_ahead() -> None:
    reports: list[tuple[str, int, int]] = []
    bar = silent_bar("weights", lambda *report: reports.append(report))
    files, received, written = bar(total=3), bar(total=9, unit="B"), bar(total=9, unit="B")
    for one, steps in ((received, 4), (written, 2), (files, 3), (written, 7)):
        one.update(steps)
        one.refresh()
    for one in (files, received, written):
        one.close()
    assert ("weights", 4, 9) in reports
    assert reports[-1] == ("weights", 9, 9)
    assert [done for _, done, _ in reports] == sorted(done for _, done, _ in reports)


def test_no_thread_looks_after_the_bars() -> None:
    before = set(threading.enumerate())
    bar = silent_bar("weights", lambda *_: None)(total=9, unit="B")
    assert set(threading.enumerate()) == before
    bar.close()
