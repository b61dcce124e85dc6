"""kill -9 of `tulu batch` at random moments, then --resume to the end: no row is lost or twice."""

from tests.benchmarks.batch_kill import Fate, batch, compare, finish, kill_once, write_rows
from tests.soak.report import Outcome, Share

ROWS = 300
# Each row takes so long that a whole run and its start take some two seconds, as do the kills.
DELAY = ["--engine-arg", "delay=0.004"]
LONGEST_SECONDS = 2.0


def soak(share: Share) -> Outcome:
    """Kill one run after the other; begin anew whenever one has come to its end."""
    dice = share.random("batch")
    rows, whole, records = (share.folder / f"{name}.jsonl" for name in ("in", "whole", "killed"))
    write_rows(rows, ROWS)
    finish([*batch("fake", rows, whole), *DELAY])
    command = [*batch("fake", rows, records), *DELAY]
    wrote, fate = list[bool](), Fate(0, 0, 0)
    for outputs in share.rounds():  # noqa: B007 (counts them)
        records.unlink(missing_ok=True)
        while not share.is_over:
            seconds = dice.uniform(0, LONGEST_SECONDS)
            had_written = kill_once(command, records, seconds, written=False)
            if had_written is None:
                break
            wrote.append(had_written)
        finish(command)
        found = compare(whole, records)
        fate = Fate(*(one + other for one, other in zip(fate, found, strict=True)))
    outcome = Outcome(["rows", "outputs", "kills", "of which after it had written", *Fate._fields])
    outcome.rows.append((ROWS, outputs + 1, len(wrote), sum(wrote), *fate))
    outcome.broken += [f"{count} {name}" for name, count in fate._asdict().items() if count]
    return outcome
