"""What alert events carry, by type: what consumers are told, and what is sent is checked by."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec

from shared.domain.alerts import AlertType
from shared.domain.levels import Level

Instant = Annotated[datetime, msgspec.Meta(tz=True)]
Nanos = Annotated[int, msgspec.Meta(description="nano-dollars: 10^9 are $1")]


class AlertData(msgspec.Struct, frozen=True, kw_only=True):
    """What every alert tells. Where it is about no account there is no level and no balance."""

    account_id: str | None
    level: Level | None
    balance_nanos: Nanos | None
    balance: Annotated[str, msgspec.Meta(description="the same in dollars, as a decimal")] | None
    occurred_at: Instant
    correlation_id: (
        Annotated[str, msgspec.Meta(description="what it goes back to: `payg trace` finds it")] | None
    ) = None
    quiet_until: Annotated[Instant, msgspec.Meta(description="people are told only then")] | None = None


class TransferAlertData(AlertData, frozen=True, kw_only=True):
    """An alert that follows from a movement in the books, by its number in the account."""

    transfer_seq: int
    empty_at: Annotated[Instant, msgspec.Meta(description="how long it lasts at this pace")] | None = None


class RuleData(TransferAlertData, frozen=True, kw_only=True):
    """A rule of the account's own was crossed: what it says of itself."""

    rule: dict[str, Any]


class KeyRuleData(RuleData, frozen=True, kw_only=True):
    """What a key spent reached a share of its limit."""

    api_key_id: str
    limit_nanos: Nanos
    spent_nanos: Nanos


class WebhookDisabledData(AlertData, frozen=True, kw_only=True):
    """A webhook endpoint took nothing for too long, or is gone."""

    endpoint_id: str
    detail: str


class TopupAlertData(AlertData, frozen=True, kw_only=True):
    """An alert about a top-up."""

    topup_id: str
    amount_nanos: Nanos


class TopupSucceededData(TopupAlertData, frozen=True, kw_only=True):
    """The card was charged and the balance credited."""

    transfer_seq: int


class TopupFailedData(TopupAlertData, frozen=True, kw_only=True):
    """The card was not charged."""

    decline_code: str | None = None
    attempt: int | None = None
    will_retry: bool = False
    detail: str | None = None


class TopupActionRequiredData(TopupAlertData, frozen=True, kw_only=True):
    """The bank wants its customer to approve the payment, on the page behind the link."""

    link: str | None
    payment_intent: str


class TopupDisabledData(AlertData, frozen=True, kw_only=True):
    """Automatic top-up was switched off, and what led to it."""

    detail: str
    topup_id: str | None = None
    amount_nanos: Nanos | None = None
    refund_id: str | None = None
    dispute: str | None = None
    fraud_warning: str | None = None


class KeyLimitReachedData(TransferAlertData, frozen=True, kw_only=True):
    """What a key spent in its period reached its limit."""

    api_key_id: str
    limit_nanos: Nanos
    spent_nanos: Nanos


class UsageQuarantinedData(AlertData, frozen=True, kw_only=True):
    """A usage record was set aside."""

    entry_id: str
    reason: str
    detail: str
    event_id: str | None


class AlertEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A CloudEvent on the exchange ``alerts``. Its id never changes; ``sequence`` rises within an account."""

    specversion: Literal["1.0"]
    type: str
    source: str
    id: str
    time: Instant
    datacontenttype: Literal["application/json"]
    subject: Annotated[str, msgspec.Meta(description="the account")] | None
    sequence: int
    data: dict[str, Any]

    @property
    def alert_type(self) -> str:
        """Its type without prefix and version, which is the routing key."""
        return self.type.removeprefix("payg.").removesuffix(".v1")


DATA: Final[dict[AlertType, type[AlertData]]] = {
    AlertType.BALANCE_LOW: TransferAlertData,
    AlertType.BALANCE_WARNING: TransferAlertData,
    AlertType.BALANCE_CRITICAL: TransferAlertData,
    AlertType.BALANCE_EXHAUSTED: TransferAlertData,
    AlertType.BALANCE_RECOVERED: TransferAlertData,
    AlertType.TOPUP_SUCCEEDED: TopupSucceededData,
    AlertType.TOPUP_FAILED: TopupFailedData,
    AlertType.TOPUP_ACTION_REQUIRED: TopupActionRequiredData,
    AlertType.TOPUP_DISABLED: TopupDisabledData,
    AlertType.QUOTA_EXHAUSTED: TransferAlertData,
    AlertType.QUOTA_RESET: TransferAlertData,
    AlertType.SPENDING_LIMIT_REACHED: TransferAlertData,
    AlertType.KEY_LIMIT_REACHED: KeyLimitReachedData,
    AlertType.USAGE_QUARANTINED: UsageQuarantinedData,
    AlertType.WEBHOOK_DISABLED: WebhookDisabledData,
    AlertType.RULE_BALANCE: RuleData,
    AlertType.RULE_QUOTA_SHARE: RuleData,
    AlertType.RULE_SPENDING_LIMIT_SHARE: RuleData,
    AlertType.RULE_KEY_LIMIT_SHARE: KeyRuleData,
    AlertType.RULE_SPEND: RuleData,
    AlertType.RULE_TIME_TO_EMPTY: RuleData,
}


def event_type_of(alert: AlertType) -> type[msgspec.Struct]:
    """Return the type of the events of an alert, with its own data."""
    name = "".join(word.capitalize() for word in alert.replace(".", "_").split("_"))
    fields: list[Any] = [("type", Literal[f"payg.{alert}.v1"]), ("data", DATA[alert])]
    return msgspec.defstruct(name, fields, bases=(AlertEvent,), frozen=True, kw_only=True)


def check_event(event: dict[str, Any]) -> None:
    """Raise ValueError where an event, as JSON, is not what consumers are told or tells more than that."""
    alert = AlertType(str(event.get("type")).removeprefix("payg.").removesuffix(".v1"))
    read = msgspec.convert(event, event_type_of(alert), str_keys=True)
    unknown = (event.keys() | event["data"].keys()) - {*read.__struct_fields__, *read.data.__struct_fields__}  # type: ignore[attr-defined]
    if unknown:
        raise ValueError(f"{alert}: {', '.join(sorted(unknown))} stand in no type")
