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
        self._post("/release", intent=intent, outcome=outcome, card=card)

    def authenticate(self, intent: str, outcome: Literal["succeed", "fail"] = "succeed") -> None:
        """Do what the owner of the card does for a payment or setup intent in `requires_action`."""
        self._post("/authenticate", intent=intent, outcome=outcome)

    def settle_refund(
        self, refund: str, outcome: Literal["succeed", "fail"], reason: str = "lost_or_stolen_card"
    ) -> None:
        """End a pending refund, or let a succeeded one fail; `reason` is its `failure_reason`."""
        self._post(f"/refunds/{refund}", outcome=outcome, reason=reason)

    def dispute(
        self, charge: str, amount: int | None = None, reason: str = "fraudulent", *, inquiry: bool = False
    ) -> str:
        """Dispute a charge, or that of an intent, in all or by an amount (cents); returns the dispute."""
        order = {"charge": charge, "amount": amount, "reason": reason, "inquiry": inquiry}
        return str(self._post("/disputes", **order)["id"])

    def end_dispute(self, dispute: str, outcome: Literal["won", "lost"]) -> None:
        """Decide a dispute, seen from the merchant."""
        self._post(f"/disputes/{dispute}", step=outcome)

    def escalate_dispute(self, dispute: str) -> None:
        """Turn an inquiry into a dispute that takes the money."""
        self._post(f"/disputes/{dispute}", step="escalate")

    def warn_of_fraud(self, charge: str, fraud_type: str = "made_with_stolen_card") -> str:
        """Have the issuer warn of a charge, or that of an intent; returns the early fraud warning."""
        return str(self._post("/fraud_warnings", charge=charge, fraud_type=fraud_type)["id"])

    def change_card(self, payment_method: str, card: str) -> None:
        """Let a saved card behave like another test card from now on."""
        self._post("/cards", payment_method=payment_method, card=card)

    def forget_keys(self, key: str | None = None) -> int:
        """Forget an idempotency key, or all, as after 24 hours; returns how many there were."""
        return int(self._post("/idempotency/forget", key=key)["forgotten"])

    def alter(self, object_id: str, **fields: Any) -> None:  # noqa: ANN401 - any field of any object
        """Replace fields of an object, metadata as a whole, as if someone had done so behind our back."""
        self._post("/alter", object=object_id, fields=fields)

    def advance_clock(self, seconds: float) -> int:
        """Move the clock on: keys, events and sessions grow old. Returns what it says (unix seconds).

        Signatures of webhooks stay in the receiver's present.
        """
        return int(self._post("/clock", advance_s=seconds)["now_s"])

    def skew_clock(self, seconds: float) -> None:
        """Let the clock be wrong by so much, in signatures too."""
        self._post("/clock", skew_s=seconds)

    def reset_clock(self) -> None:
        """Put the clock right."""
        self._http.delete("/clock").raise_for_status()

    def requests(self, api_key: str | None = None) -> list[dict[str, Any]]:
        """Return the requests that came, of one API key or all, the oldest first.

        Each has account, method, path, parameters (pairs of name and value), idempotency_key, version and the
        status it was answered with, None where the request was lost.
        """
        params = {} if api_key is None else {"api_key": api_key}
        return self._list("/requests", **params)

    def charges(self) -> list[dict[str, Any]]:
        """Return all charges, refused ones too, the oldest first."""
        return self._list("/charges")

    def objects(self, kind: str) -> list[dict[str, Any]]:
        """Return all objects of a kind (`refund`, `dispute`, `checkout.session`…), the oldest first."""
        return self._list(f"/objects/{kind}")

    def add_webhook(self, url: str, *secrets: str, **settings: Any) -> str:  # noqa: ANN401 - see below
        """Have events sent to `url`, signed with a secret, or with two as while one is replaced.

        `settings` are fields of `outbox.WebhookEndpoint`, and `api_key`: the account whose events are sent,
        all without it. Returns the id of the endpoint.
        """
        return str(self._post("/webhooks", url=url, secrets=secrets, **settings)["id"])

    def set_webhook(self, endpoint: str, **settings: Any) -> None:  # noqa: ANN401 - as above
        """Change an endpoint: `hold`, `down`, `copies`, `at_once`, `delay_ms`, `signature`, `secrets`…."""
        self._http.patch(f"/webhooks/{endpoint}", json=settings).raise_for_status()

    def remove_webhook(self, endpoint: str) -> None:
        """Send nothing there any more."""
        self._http.delete(f"/webhooks/{endpoint}").raise_for_status()

    def deliveries(self, endpoint: str) -> list[dict[str, Any]]:
        """Return event, type, state and statuses of each delivery, in the order of the events.

        States: pending, held, delivered, failed (given up), dropped (while down).
        """
        return self._list(f"/webhooks/{endpoint}/deliveries")

    def release_webhooks(
        self, endpoint: str, order: Literal["given", "reversed"] | list[str] = "given"
    ) -> list[int]:
        """Send what is held, one after the other; with event ids, those only. Returns the HTTP statuses."""
        statuses: list[int] = self._json(f"/webhooks/{endpoint}/release", order=order)
        return statuses

    def send_webhook(self, endpoint: str, event: str | None = None, **how: Any) -> list[int]:  # noqa: ANN401
        """Send an event once more, or any `body`; returns the HTTP statuses, 0 where none came.

        `how` are fields of `webhook_control.Sending`: copies, at_once, signature (valid, forged, stale,
        missing), body.
        """
        statuses: list[int] = self._json(f"/webhooks/{endpoint}/send", event=event, **how)
        return statuses

    def _list(self, path: str, **params: str) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = self._http.get(path, params=params).raise_for_status().json()
        return listed

    def _post(self, path: str, /, **body: object) -> dict[str, Any]:
        done: dict[str, Any] = self._json(path, **body)
        return done

    def _json(self, path: str, /, **body: object) -> Any:  # noqa: ANN401 - what JSON the answer is
        return self._http.post(path, json=body).raise_for_status().json()
