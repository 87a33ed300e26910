"""Attack honest nodes with hostile messages and connections, and say what came of it.

python -m scripts.fuzz                                              1,000,000 messages, 10,000 connections, 100 a second
python -m scripts.fuzz --messages 20000 --connections 500 --seed 7

Connections are opened twice: of all kinds at a steady pace, and as many again at once that are only opened and left.
Ends with status 1 after a crash, a wrong mix, or memory that grew by more than 20 MB.
"""

from __future__ import annotations

import argparse
import sys
import time

from scripts.fuzzing.connections import ConnectionReport, Plan, fuzz_connections
from scripts.fuzzing.messages import MessageReport, fuzz_messages

MAX_GROWN_BYTES = 20_000_000
PER_SECOND = 100.0
FEW_DESCRIPTORS = 128  # of a victim that has hardly any
ROW = "{:<44}{:>10}{:>10}{:>10}{:>10}{:>10}"


def say(name: str, value: object) -> None:
    print(f"{name:<64}{value!s:>30}", flush=True)


def messages(count: int, seed: int) -> bool:
    """Whether nothing crashed, mixed wrongly or grew."""
    began = time.monotonic()
    report = fuzz_messages(count, seed)
    print(ROW.format("messages", "sent", "dropped", "refused", "read", "no effect"))
    for kind, outcomes in report.outcomes.items():
        told = [outcomes[name] for name in ("sent", "dropped", "refused", "read")]
        print(ROW.format(kind, *told, max(0, told[0] - sum(told[1:]))))
    for crash in report.crashes[:3]:
        print(crash)
    _say_messages(report, time.monotonic() - began)
    return report.good and report.grown_bytes < MAX_GROWN_BYTES


def _say_messages(report: MessageReport, seconds: float) -> None:
    say("messages: crashes", len(report.crashes))
    say("messages: rounds, of three nodes", report.rounds)
    say("messages: rounds with a wrong mix", report.wrong_mixes)
    say("messages: lines in the nodes' logs", report.log_lines)
    say("messages: resident memory grew by, MB", f"{report.grown_bytes / 1e6:.1f}")
    say("messages: seconds", f"{seconds:.0f}")


def connections(title: str, plan: Plan) -> bool:
    """Whether the node lived, exchanged what was sent, let a newcomer in, and did not grow."""
    report = fuzz_connections(plan)
    print()
    for kind, opened in report.opened.items():
        say(f"{title}: {kind}", opened)
    for why, refused in sorted(report.refused.items()):
        say(f"{title}: refused, {why}", refused)
    _say_connections(title, report)
    return report.good and report.grown_bytes < MAX_GROWN_BYTES


def _say_connections(title: str, report: ConnectionReport) -> None:
    say(f"{title}: could not be opened", report.failed)
    say(f"{title}: the honest pair goes on", report.alive)
    say(f"{title}: its rounds with a wrong vector", report.wrong_rounds)
    say(f"{title}: an honest newcomer gets through", report.newcomer)
    say(f"{title}: most descriptors of the victim", report.most_descriptors)
    say(f"{title}: seconds until it had them back", f"{report.reclaimed_s:.1f}")
    say(f"{title}: resident memory grew by, MB", f"{report.grown_bytes / 1e6:.1f}")
    say(f"{title}: a round's wall time, attacked / quiet", f"{report.round_ratio:.2f}")
    say(f"{title}: a round's processor time, attacked / quiet", f"{report.cpu_ratio:.2f}")
    say(f"{title}: seconds", f"{report.seconds:.0f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    count, seed = arguments.connections, arguments.seed
    good = [messages(arguments.messages, seed)] if arguments.messages else []
    if count:
        few = min(count, 1000)
        good += [
            connections("all kinds", Plan(count, seed, PER_SECOND)),
            connections("at once", Plan(count, seed, leave=True)),
            connections("few descriptors", Plan(few, seed, leave=True, descriptors=FEW_DESCRIPTORS)),
        ]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
