"""A search that can be killed: `python -m tests.faults.searching MADE STORE OUT [SLEEPER]`.

Prints nothing; what it begins is a line each in `OUT.begun`. A trial that is called SLEEPER
does not end.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from kfp_suite.components.train.tune import executor
from kfp_suite.components.train.tune.executor import TuneParameters, tune
from kfp_suite.components.train.tune.study import Asked, Trial

# Of more values than trials: a candidate that comes again is not run again.
SPACE = {"decision_tree": {"ccp_alpha": {"type": "float", "low": 0.0, "high": 0.01}}}
TRIALS = 12
MODEL = "rows"


def main() -> None:
    """Search on two cores, whatever the machine has."""
    made, store, out = map(Path, sys.argv[1:4])
    sleeper = "".join(sys.argv[4:])
    run = executor._try_candidate

    def told(asked: Asked, *rest: Any) -> Trial:
        with out.with_suffix(".begun").open("a") as begun:
            begun.write(f"{asked.name}\n")
        if asked.name == sleeper:
            time.sleep(600)
        return run(asked, *rest)

    vars(executor).update(_try_candidate=told, available_cpus=lambda: 2)
    parameters = TuneParameters(
        label="late",
        search_space=SPACE,
        trials=TRIALS,
        folds=3,
        store=str(store),
        model_name=MODEL,
    )
    tune(parameters, made / "dataset", made / "transform", out)


if __name__ == "__main__":
    main()
