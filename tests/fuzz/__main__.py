"""The long run: `python -m tests.fuzz --cases 20000`."""

import argparse
import sys

from tests.fuzz import frame


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Damaged, hostile and absurd inputs.")
    parser.add_argument("--cases", type=int, default=20_000, help="In all, shared out among the families.")
    parser.add_argument("--family", help="Names with commas; all of them by default.")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chosen = frame.all_families()
    if arguments.family:
        known = {family.name: family for family in chosen}
        unknown = [name for name in arguments.family.split(",") if name not in known]
        if unknown:
            parser.error(f"there is no family {unknown[0]!r}: there are {', '.join(known)}")
        chosen = [known[name] for name in arguments.family.split(",")]
    shares = sum(family.share for family in chosen)
    tallies = {}
    for family in chosen:
        cases = max(1, round(arguments.cases * family.share / shares))
        tallies[family.title] = tally = frame.run(family, cases, arguments.seed)
        for fault in tally.faults:
            print(fault, flush=True)
        print(f"{family.title}: {cases} cases, {len(tally.faults)} faults", file=sys.stderr, flush=True)
    print(frame.table(tallies))
    return 1 if any(tally.faults for tally in tallies.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
