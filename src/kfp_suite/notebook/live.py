"""An output that changes while a cell runs; plain text if there is no notebook."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup


class Live:
    """One place below a cell: what is shown last is what stays."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, content: Markup) -> None:
        """Show `content` in place of what was there."""
        try:
            from IPython.core.getipython import get_ipython
            from IPython.display import HTML, display
        except ImportError:
            return
        if get_ipython() is None:
            return
        if self._handle is None:
            self._handle = display(HTML(str(content)), display_id=True)
        else:
            self._handle.update(HTML(str(content)))
