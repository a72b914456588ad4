"""A prediction that takes too long, and one that never comes back.

The first is answered with 504. A call that is still at it when its own time is over has
taken a thread with it: then the server is neither ready nor alive, and KServe starts it anew.
"""

from __future__ import annotations

from kserve.errors import ServerNotLive

from kfp_suite.server.request_validation import ReadingDataPlane


class ModelHangs(ServerNotLive):  # type: ignore[misc]
    """A prediction that does not come back: 503 over HTTP, UNAVAILABLE over gRPC."""

    def __init__(self, name: str) -> None:
        super().__init__(f"A prediction of '{name}' does not come back.")
        self.reason = str(self)  # read by KServe's gRPC


class LivingDataPlane(ReadingDataPlane):
    """KServe's, for which a server whose model hangs is neither alive nor ready."""

    async def live(self) -> dict[str, str]:
        """Alive. Raises ModelHangs."""
        for name in self.hanging():
            raise ModelHangs(name)
        found: dict[str, str] = await super().live()
        return found

    async def ready(self) -> bool:
        """Whether requests are answered."""
        return not self.hanging() and bool(await super().ready())

    async def model_ready(
        self,
        model_name: str,
        disable_predictor_health_check: bool = False,
    ) -> bool:
        """Whether a model answers. Raises ModelNotFound.

        Args:
            model_name: The model's name.
            disable_predictor_health_check: The question is not a probe, but comes before a
                prediction. One that hangs is no reason to refuse another, which goes on beside it.
        """
        if disable_predictor_health_check:
            return bool(self.get_model_from_registry(model_name).ready)
        return bool(await super().model_ready(model_name))

    def hanging(self) -> list[str]:
        """The models that hang."""
        return [name for name, model in self.model_registry.get_models().items() if model.hangs]
