"""A client of `/_control/`, for tests and demonstrations."""

from typing import Any, Literal, Self

import httpx

_TIMEOUT_S = 10.0


class Controls:
    """Orders faults and outcomes from a running stand-in; every method raises `httpx.HTTPError`."""

    def __init__(self, url: str) -> None:
        """Talk to the stand-in at `url`."""
        self._http = httpx.Client(base_url=f"{url}/_control", timeout=_TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def fault(self, kind: str, **settings: Any) -> None:  # noqa: ANN401 - fields of `control.FaultOrder`
        """Order a fault, for the next request unless `times`, `path` and `method` say otherwise."""
        self._post("/faults", kind=kind, **settings)

    def clear_faults(self) -> None:
        """Take back all orders that stand."""
        self._http.delete("/faults").raise_for_status()

    def release(self, intent: str, outcome: Literal["succeed", "fail"], card: str | None = None) -> None:
        """End the `processing` of an intent; `card` is the test card whose decline a failure is like."""
        self._post("/release", payment_intent=intent, outcome=outcome, card=card)

    def authenticate(self, intent: str, outcome: Literal["succeed", "fail"] = "succeed") -> None:
        """Do what the owner of the card does for an intent in `requires_action`."""
        self._post("/authenticate", payment_intent=intent, outcome=outcome)

    def change_card(self, payment_method: str, card: str) -> None:
        """Let a saved card behave like another test card from now on."""
        self._post("/cards", payment_method=payment_method, card=card)

    def forget_keys(self, key: str | None = None) -> int:
        """Forget an idempotency key, or all, as after 24 hours; returns how many there were."""
        return int(self._post("/idempotency/forget", key=key)["forgotten"])

    def charges(self) -> list[dict[str, Any]]:
        """Return all charges, refused ones too, the oldest first."""
        answer = self._http.get("/charges").raise_for_status()
        listed: list[dict[str, Any]] = answer.json()
        return listed

    def _post(self, path: str, /, **body: object) -> dict[str, Any]:
        answer = self._http.post(path, json=body).raise_for_status()
        done: dict[str, Any] = answer.json()
        return done
