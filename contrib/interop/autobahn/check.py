#!/usr/bin/env python3
"""Judges the suite's report: prints what is not plainly OK, exits 0 only if everything is accounted for."""

import json
import sys
from collections import Counter

# How many cases each group of version 0.8.2 has. A report with fewer proves nothing.
CASES = {"1": 16, "2": 11, "3": 7, "4": 10, "5": 20, "6": 145, "7": 37, "9": 54, "10": 1}

# Non-strict results that we accept, and why.
LATE_UTF8 = "bad UTF-8 is refused when its frame is complete, not in the middle of it; still 1007"
REASONS = {"6.4.3": LATE_UTF8, "6.4.4": LATE_UTF8}


def main(path):
    with open(path) as file:
        report = json.load(file)
    if len(report) != 1:
        print(f"expected the report of one server, found {len(report)}")
        return 1
    (cases,) = report.values()
    failures = []
    for group, wanted in CASES.items():
        names = [name for name in cases if name.split(".")[0] == group]
        kinds = Counter(cases[name]["behavior"] for name in names)
        print(f"group {group:>2}: " + ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())))
        if len(names) != wanted:
            failures.append(f"group {group}: {len(names)} of {wanted} cases in the report")
    for name in sorted(cases, key=lambda name: [int(part) for part in name.split(".")]):
        case = cases[name]
        results = {case["behavior"], case["behaviorClose"]} - {"OK"}
        if not results:
            continue
        note = REASONS.get(name, "")
        print(f"{name:>8}: {case['behavior']}, close {case['behaviorClose']} ({case['remoteCloseCode']}) {note}".rstrip())
        if results - {"NON-STRICT", "INFORMATIONAL"}:
            failures.append(f"{name}: {case['behavior']}, close {case['behaviorClose']}")
        elif "NON-STRICT" in results and not note:
            failures.append(f"{name}: non-strict, and check.py gives no reason for it")
    for failure in failures:
        print(f"FAILED {failure}")
    print(f"{len(cases)} cases, {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
