"""Requests that Schemathesis makes up of the OpenAPI document, valid and broken ones, and its verdicts."""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import hypothesis
import requests
import schemathesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from openapi_routes import STREAMS
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi import checks

#: Requests to each route; a nightly run can set some hundreds.
EXAMPLES = int(os.environ.get("PAYG_FUZZ_EXAMPLES", "8"))
_OF_PAYMENTS = re.compile(
    "topup|payment-methods|invoices|refunds|disputes|differences|reconcile|webhooks/stripe"
)
_CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]


class Keys(NamedTuple):
    """A key of each kind."""

    operator: str
    owner: str
    service: str

    def of(self, path: str) -> st.SearchStrategy[str]:
        """The key that a route is for, most of the time."""
        fits = self.service
        if path.startswith("/v1/admin"):
            fits = self.operator
        elif path.startswith(("/v1/billing", "/api")):
            fits = self.owner
        return st.sampled_from([fits] * 6 + list(self))


class Fuzzed(NamedTuple):
    """What was asked of which routes, and what was wrong with the answers."""

    requests: int
    answered: frozenset[int]
    findings: list[str]


def fuzz(url: str, keys: Keys, ids: Mapping[str, str], *, payments: bool = False) -> Fuzzed:
    """Ask every route; half of the time with ids that exist, so that more than 404 is seen.

    Where payments are on only those that they change: the others were asked without. There webhooks are off,
    and answer as they should: 503.
    """
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    schema.config.generation.with_security_parameters = False  # every request carries the same key
    schema.config.generation.allow_extra_parameters = False  # those are ignored, as HTTP has it
    run = _Run(keys)
    for result in schema.get_all_operations():
        operation = result.ok()
        asked = _OF_PAYMENTS.search(operation.path) if payments else operation.path != "/webhooks/stripe"
        if asked and operation.path not in STREAMS:
            run.route(operation, ids)
    return Fuzzed(run.requests, frozenset(run.answered), run.findings)


class _Run:
    def __init__(self, keys: Keys) -> None:
        self._session = requests.Session()
        self._keys = keys
        self.requests = 0
        self.answered: set[int] = set()
        self.findings: list[str] = []

    def route(self, operation: APIOperation, ids: Mapping[str, str]) -> None:
        """Ask one route, until the first finding."""

        @hypothesis.settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=EXAMPLES <= 10,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @hypothesis.given(case=st.one_of(*_strategies(operation, ids)), secret=self._keys.of(operation.path))
        def ask(case: Case, secret: str) -> None:
            answer = case.call(headers={"Authorization": f"Bearer {secret}"}, session=self._session)
            self.requests += 1
            self.answered.add(answer.status_code)
            case.validate_response(answer, checks=_CHECKS)

        try:
            ask()
        except (Failure, FailureGroup) as error:
            why = error.exceptions if isinstance(error, FailureGroup) else [error]
            self.findings += [f"{operation.label}: {each}" for each in why]


def _strategies(operation: APIOperation, ids: Mapping[str, str]) -> Iterator[st.SearchStrategy[Case]]:
    known: dict[str, Any] = {
        parameter.name: ids[parameter.name]
        for parameter in operation.path_parameters
        if parameter.name in ids
    }
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        if mode is GenerationMode.NEGATIVE and not list(operation.iter_parameters()) and not operation.body:
            continue
        yield operation.as_strategy(generation_mode=mode)
        if known:
            yield operation.as_strategy(generation_mode=mode, path_parameters=known)
