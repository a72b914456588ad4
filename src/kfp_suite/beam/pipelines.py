"""Where a Beam pipeline runs: runner and options, as a component's parameters give them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from kfp_suite.contracts.errors import ParameterError
from kfp_suite.contracts.parameters import whole_numbers

LOCAL = "local"
# Beam's in-process runner by its own name: `DirectRunner` may look for a binary to download.
_IN_PROCESS = "FnApiRunner"


@dataclass(frozen=True)
class BeamParameters:
    """`runner`: `local` (in this process), or a runner of Beam such as DataflowRunner,
    FlinkRunner or SparkRunner. `options`: its options, by their names."""

    runner: str = LOCAL
    options: Mapping[str, Any] = field(default_factory=dict)


def pipeline_options(parameters: BeamParameters) -> PipelineOptions:
    """The options of a Beam pipeline.

    Raises:
        ParameterError: an unknown runner, or options that Beam does not take.
    """
    runner = _IN_PROCESS if parameters.runner == LOCAL else parameters.runner
    given = whole_numbers(dict(parameters.options))
    try:
        options = PipelineOptions.from_dictionary({**given, "runner": runner})
        beam.Pipeline(options=options)
    except (ValueError, TypeError, AttributeError, ImportError) as error:
        raise ParameterError(
            "Beam cannot run there",
            where="beam_runner, beam_options",
            got=f"{type(error).__name__}: {error}",
            fix="use local, or install the runner with images build --extend",
        ) from error
    unknown = [name for name in given if name not in options.get_all_options()]
    if unknown:
        raise ParameterError(
            f"unknown Beam option '{unknown[0]}'",
            where="beam_options",
            fix="see Beam's PipelineOptions, and those of the runner",
        )
    return options
