"""A component's function, run from the code of its image.

`python3 -m kfp_suite.components evaluate.tfma --function_to_execute evaluate_tfma
--executor_input JSON` is what compiled pipelines start a step with: kfp's own entry point, which
reads the function from here instead of from a copy in the pipeline.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import sys
import tempfile
from pathlib import Path

from kfp_suite.contracts.errors import KfpSuiteError, MissingError

_PACKAGE = "kfp_suite.components"


def main(arguments: list[str]) -> None:
    """Run a component.

    Args:
        arguments: The component's module below this package, and what kfp's entry point takes.

    Raises:
        MissingError: the image has no such component.
    """
    module, *given = arguments
    # Before kfp is imported, which then leaves out its compiler and its client.
    os.environ["_KFP_RUNTIME"] = "true"
    from kfp.dsl.executor_main import executor_main

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ephemeral_component.py"
        file.write_text(plain_source(f"{_PACKAGE}.{module}.component"), encoding="utf-8")
        sys.argv = [sys.argv[0], "--component_module_path", str(file), *given]
        executor_main()


def plain_source(module: str) -> str:
    """The imports and functions of a module, without the decorators that make components of them.

    Args:
        module: The name of the module.

    Raises:
        MissingError: there is none.
    """
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # a package above it is not there
        spec = None
    if spec is None or spec.origin is None:
        raise MissingError(
            f"no component '{module}' in this image",
            fix="compile the pipeline with the kfp-suite that the image was built of",
        )
    kept = (ast.Import, ast.ImportFrom, ast.FunctionDef)
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if isinstance(node, kept)]
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            node.decorator_list = []
    return ast.unparse(tree)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KfpSuiteError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
