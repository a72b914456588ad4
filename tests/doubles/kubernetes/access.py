"""Who may do what: tokens, the rules of Roles, and refusals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kfp_suite.testing.kubernetes.answers import Refusal
from kfp_suite.testing.kubernetes.kinds import Json, Kind

ADMIN = "kubernetes-admin"


@dataclass(frozen=True)
class Action:
    """What a request does. `resource` is a plural, with its subresource: `pods/log`."""

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""
    namespaced: bool = True


@dataclass(frozen=True)
class _Denial:
    verb: str
    resource: str
    namespace: str | None
    token: str | None


@dataclass
class _Account:
    user: str
    rules: list[Mapping[str, Any]] | None = None
    namespace: str | None = None


@dataclass
class Access:
    """The authorizer: everybody may do everything until somebody is told otherwise.

    Attributes:
        admin_token: That of clients without a token of their own.
    """

    admin_token: str
    _accounts: dict[str, _Account] = field(default_factory=dict)
    _denials: list[_Denial] = field(default_factory=list)
    _strict: bool = False

    def know(self, token: str, user: str = "") -> None:
        """Make a token known."""
        name = user or f"system:serviceaccount:default:{token}"
        self._accounts.setdefault(token, _Account(name))

    def deny(self, verb: str, resource: str, namespace: str | None, token: str | None) -> None:
        """Refuse an action, to everybody or to one token."""
        if token is not None:
            self.know(token)
            self._strict = True
        self._denials.append(_Denial(verb, resource, namespace, token))

    def allow_only(
        self, token: str, rules: Iterable[Mapping[str, Any]], namespace: str | None, user: str
    ) -> None:
        """Give a token the rules of a Role and nothing else."""
        self.know(token, user)
        account = self._accounts[token]
        account.rules, account.namespace = list(rules), namespace
        account.user = user or account.user
        self._strict = True

    def user_of(self, token: str) -> str:
        """Whose token it is. Raises Refusal (401)."""
        if token == self.admin_token:
            return ADMIN
        if token in self._accounts:
            return self._accounts[token].user
        if self._strict or token:
            raise Refusal(401, "Unauthorized", "Unauthorized")
        return ADMIN

    def allows(self, token: str, action: Action) -> bool:
        """Whether it may."""
        for denial in self._denials:
            if (
                denial.verb in ("*", action.verb)
                and denial.resource in ("*", action.resource)
                and denial.namespace in (None, action.namespace)
                and denial.token in (None, token)
            ):
                return False
        account = self._accounts.get(token)
        if account is None or account.rules is None:
            return True
        if account.namespace is not None and account.namespace != action.namespace:
            return False
        return any(_covers(rule, action) for rule in account.rules)

    def check(self, token: str, action: Action) -> None:
        """Raises Refusal (403) where it may not."""
        if not self.allows(token, action):
            raise forbidden(self.user_of(token), action)

    def review(self, token: str, review: Json) -> Json:
        """The answer to a SelfSubjectAccessReview, or to a SubjectAccessReview of a user."""
        user = review.get("spec", {}).get("user")
        if user:
            known = {account.user: token for token, account in self._accounts.items()}
            token = known.get(user, token)
        wanted = review.get("spec", {}).get("resourceAttributes", {})
        resource = wanted.get("resource", "")
        if wanted.get("subresource"):
            resource += f"/{wanted['subresource']}"
        action = Action(
            wanted.get("verb", ""),
            wanted.get("group", ""),
            resource,
            wanted.get("namespace", ""),
            wanted.get("name", ""),
        )
        allowed = self.allows(token, action)
        return {**review, "status": {"allowed": allowed}}


def action_on(kind: Kind, verb: str, namespace: str, name: str, subresource: str = "") -> Action:
    """What a request on an object, or on a collection, does."""
    resource = f"{kind.plural}/{subresource}" if subresource else kind.plural
    return Action(verb, kind.group, resource, namespace, name, kind.namespaced)


def forbidden(user: str, action: Action) -> Refusal:
    """The answer to what somebody may not do."""
    plural = action.resource.split("/")[0]
    qualified = f"{plural}.{action.group}" if action.group else plural
    subject = f'{qualified} "{action.name}"' if action.name else qualified
    where = f'in the namespace "{action.namespace}"' if action.namespace else "at the cluster scope"
    message = (
        f'{subject} is forbidden: User "{user}" cannot {action.verb} resource "{action.resource}" '
        f'in API group "{action.group}" {where}'
    )
    details = {"name": action.name, "group": action.group, "kind": plural}
    return Refusal(403, "Forbidden", message, {k: v for k, v in details.items() if v})


def _covers(rule: Mapping[str, Any], action: Action) -> bool:
    names = rule.get("resourceNames")
    resources = rule.get("resources", ())
    subresource = action.resource.partition("/")[2]
    return (
        _among(rule.get("verbs", ()), action.verb)
        and _among(rule.get("apiGroups", ()), action.group)
        and (
            _among(resources, action.resource)
            or (bool(subresource) and f"*/{subresource}" in resources)
        )
        and (not names or action.name in names)
    )


def _among(allowed: Iterable[str], one: str) -> bool:
    return any(entry in ("*", one) for entry in allowed)
