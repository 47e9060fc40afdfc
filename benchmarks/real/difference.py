"""How far two arms are apart, from their results: with the seeds that both have, paired by test example.

    python benchmarks/real/difference.py cp_mner/hvpnet_blank cp_mner/hvpnet
    python benchmarks/real/difference.py more_contexts_twitter2017/contexts captions_twitter2017/both

An arm is named by its folder of results. The summaries hold the differences from a study's first arm; this gives any
other. The test examples must be the same, in the same order.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from command import RESULTS
from finished import Finished
from summary import difference, shared

from mmkit.errors import DataError, MMKitError, did_you_mean
from mmkit.files import read_json


def results_of(arm: str, results: Path) -> list[Finished]:
    """The runs of `study/arm`, by seed. Raises `DataError` if there are none."""
    folder, _, name = arm.rpartition("/")
    found = [Finished(read_json(path)) for path in sorted((results / folder).glob(f"{name}_seed*.json"))]
    if not found:
        known = {f"{x.parent.name}/{x.stem.rpartition('_seed')[0]}" for x in results.glob("*/*_seed*.json")}
        raise DataError(
            f"there is no result of {arm!r}", where=results, hint=did_you_mean(arm, sorted(known))
        )
    return sorted(found, key=lambda run: run.seed)


def told(first: str, second: str, results: Path) -> str:
    """The difference in words. Raises `DataError` if the arms share no seed or have other test examples."""
    one, other = results_of(first, results), results_of(second, results)
    both = shared(one, other)
    if both is None:
        raise DataError(f"{first} and {second} have no seed in common", where=results)
    gold = [runs[0].counts[:, 2].tolist() for runs in both]  # other files may hold the same examples
    if gold[0] != gold[1]:
        raise DataError(f"{first} and {second} have other test examples", where=results)
    found = difference(*both, "spans.f1")
    seeds = ", ".join(map(str, found["seeds"]))
    low, high = found["low"], found["high"]
    return (
        f"{second} − {first}: {100 * found['difference']:+.2f} F1 ({100 * low:+.2f} to {100 * high:+.2f}, "
        f"p = {found['p_randomisation']:.3f}), seeds {seeds}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("first", help="an arm: study/arm")
    parser.add_argument("second", help="the arm that is compared with it")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder of results")
    arguments = parser.parse_args()
    try:
        print(told(arguments.first, arguments.second, arguments.results))
    except MMKitError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
