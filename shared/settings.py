"""Settings: environment variables with the prefix ``PAYG_``, checked when a process starts.

Where a variable is not set, the file ``.payg/env`` of the working directory may hold it: ``make up`` writes
there how to reach the servers that it started.
"""

from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.domain.errors import PaygError
from shared.domain.events import TimeLimits
from shared.domain.invoice import (
    UNNAMED_SELLER,
    Issuer,
    Party,
    address_lines,
    checked_prefix,
    mail_address,
    one_line,
)
from shared.domain.money import parse_dollars
from shared.domain.pricing import BEGINNING_OF_TIME
from shared.domain.signature import SigningKey, parse_key
from shared.gateways.smtp import SmtpServer, mailbox

ENV_FILE = Path(".payg/env")
LOCAL_URL = "http://127.0.0.1:8080"


class SettingsError(PaygError):
    """A setting is missing or malformed; the message names it."""


def _starts_with(*schemes: str) -> AfterValidator:
    def check(url: str) -> str:
        if not url.startswith(schemes):
            raise ValueError(f"must start with {' or '.join(schemes)}")
        return url

    return AfterValidator(check)


def _local_url(settings: dict[str, object]) -> str:
    port = settings.get("api_port")  # absent where it is malformed, which is said anyway
    return f"http://127.0.0.1:{port}" if port else LOCAL_URL


def _nanos(dollars: object) -> int:
    return dollars if isinstance(dollars, int) else parse_dollars(str(dollars))


def _checked_key(key: SecretStr) -> SecretStr:
    parse_key(key.get_secret_value())
    return key


def _as_address(text: str) -> str:
    address_lines(text)
    return text


def _smtp_url(url: SecretStr) -> SecretStr:
    SmtpServer.parse(url.get_secret_value())
    return url


def _mailbox(text: str) -> str:
    mailbox(text)
    return text


def _in_utc(instant: datetime) -> datetime:
    return max(
        BEGINNING_OF_TIME,
        instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC),
    )


class Settings(BaseSettings):
    """All settings of payg, each with its unit in its name."""

    model_config = SettingsConfigDict(
        env_prefix="PAYG_", env_file=ENV_FILE, env_ignore_empty=True, extra="ignore", frozen=True
    )

    database_url: Annotated[str, _starts_with("postgresql://", "postgres://")] = Field(
        description="PostgreSQL 15 or later, as postgresql://user:password@host:port/database; a primary and "
        "its standbys as host:port,host:port/database?target_session_attrs=primary; behind pgbouncer with "
        "?pgbouncer=true"
    )
    broker_url: Annotated[str, _starts_with("amqp://", "amqps://", "redis://", "rediss://")] = Field(
        description="RabbitMQ as amqp://…, or Redis as redis://… for the embedded mode"
    )
    redis_url: Annotated[str, _starts_with("redis://", "rediss://")] | None = Field(
        None, description="Redis for the gate"
    )
    debit_queues: int = Field(4, ge=1, le=256, description="debit queues that accounts are spread over")
    batch_records: int = Field(
        500, ge=1, le=10_000, description="records that one stage message carries at most"
    )
    intake_prefetch: int = Field(200, ge=1, le=10_000, description="messages intake holds unacknowledged")
    max_future_s: int = Field(600, ge=0, description="how far ahead the time of a record may lie")
    min_time: Annotated[datetime, AfterValidator(_in_utc)] = Field(
        datetime(2020, 1, 1, tzinfo=UTC), description="before this no record is believed"
    )
    late_record_grace_s: int = Field(3600, ge=0, description="how long a cycle takes records after its end")
    stripe_api_key: SecretStr | None = Field(None, description="without it everything but payments works")
    stripe_api_base: str | None = Field(None, description="address of a fake Stripe; takes only test keys")
    stripe_webhook_secret: SecretStr | None = Field(
        None, description="signs Stripe's webhooks, whsec_…; two with a comma between while one is replaced"
    )
    topup_cooldown_s: int = Field(
        60, ge=0, description="wait after an automatic top-up that left the balance below the threshold"
    )
    topup_retry_s: int = Field(
        3600, ge=1, description="wait before a declined card is tried again; the next is longer"
    )
    hold_life_s: int = Field(600, ge=1, le=86_400, description="how long a hold lives without its record")
    gate_without_redis: Literal["database", "refuse"] = Field(
        "database", description="while Redis is away: weigh requests in the database, or refuse them all"
    )
    gate_floor_usd: Annotated[int, BeforeValidator(_nanos)] = Field(
        1_000_000_000,
        description="dollars; who can spend less is refused for one hold's life after Redis was emptied",
    )
    alerts_per_hour: int = Field(
        30, ge=0, description="alerts that one webhook or mail address gets in an hour; 0 for no digests"
    )
    webhook_loopback: bool = Field(
        default=False, description="webhooks may go to this machine, also by http://; for tests and sandboxes"
    )
    seller_name: Annotated[str, AfterValidator(one_line)] | None = Field(
        None, description="who sells, as it stands on invoices"
    )
    seller_address: Annotated[str, AfterValidator(_as_address)] | None = Field(
        None, description="the seller's address; its lines end with | or a line break"
    )
    seller_tax_id: Annotated[str, AfterValidator(one_line)] | None = Field(
        None, description="the seller's tax id"
    )
    seller_email: Annotated[str, AfterValidator(mail_address)] | None = Field(
        None, description="where to ask about an invoice"
    )
    invoice_prefix: Annotated[str, AfterValidator(checked_prefix)] = Field(
        "INV-", description="what stands before the number of an invoice"
    )
    statement_close_s: int = Field(
        21_600, ge=0, description="how long after the end of a month its statements are closed"
    )
    signing_key: Annotated[SecretStr, AfterValidator(_checked_key)] | None = Field(
        None, description="signs statements; 32 bytes in hex or base64, from `payg signing-key create`"
    )
    signing_key_file: Path | None = Field(None, description="a file that holds the signing key")
    smtp_url: Annotated[SecretStr, AfterValidator(_smtp_url)] | None = Field(
        None,
        description="where mail goes out: smtp://user:password@host:port, smtp+starttls://… or smtps://…",
    )
    mail_from: Annotated[str, AfterValidator(_mailbox)] | None = Field(
        None, description="who mail comes from, such as Acme Billing <billing@example.com>"
    )
    alive_file: Path | None = Field(
        None, description="a file that a process touches every few seconds while it does its work, for probes"
    )
    stuck_s: int = Field(
        600, ge=1, description="how long one batch may take before its process counts as stuck"
    )
    shutdown_s: int = Field(25, ge=1, description="how long a process may take to stop")
    api_host: str = Field("127.0.0.1", description="address the HTTP tier listens on")
    api_port: int = Field(8080, ge=0, le=65535, description="port the HTTP tier listens on")
    public_url: Annotated[str, _starts_with("https://", "http://")] = Field(
        default_factory=_local_url,
        description="address of the HTTP tier as browsers reach it, for links in mail and from Stripe; "
        "without it that of this machine",
    )
    admin_key: SecretStr | None = Field(None, description="a key that may do everything, for operators")
    rate_limit_per_s: int = Field(
        200, ge=0, description="requests a second that one key may make; 0 for as many as it likes"
    )
    max_in_flight: int = Field(
        500, ge=1, description="requests that one process of the HTTP tier works on at once; 503 beyond them"
    )
    metrics_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="port of the metrics of workers and clock, or the next that is free; 0 for none",
    )
    metrics_host: str = Field("127.0.0.1", description="address that the metrics are served at")
    traces_url: Annotated[str, _starts_with("http://", "https://")] | None = Field(
        None, description="where traces go, by OTLP over HTTP: …:4318/v1/traces; needs the extra `traces`"
    )
    log_level: str = Field("info", description="debug, info, warning or error")

    @model_validator(mode="after")
    def _a_live_key_never_talks_to_a_fake(self) -> Self:
        key = self.stripe_api_key.get_secret_value() if self.stripe_api_key else ""
        if self.stripe_api_base and not key.startswith("sk_test_"):
            raise ValueError("PAYG_STRIPE_API_BASE is for a fake Stripe and needs a test key, sk_test_…")
        return self

    @model_validator(mode="after")
    def _mail_has_a_sender(self) -> Self:
        if self.smtp_url and not self.mail_from:
            raise ValueError("PAYG_SMTP_URL needs PAYG_MAIL_FROM: who mail comes from")
        return self

    @property
    def stripe_webhook_secrets(self) -> tuple[str, ...]:
        """Each of the secrets that a webhook may be signed with."""
        text = self.stripe_webhook_secret.get_secret_value() if self.stripe_webhook_secret else ""
        return tuple(secret.strip() for secret in text.split(",") if secret.strip())

    @property
    def time_limits(self) -> TimeLimits:
        return TimeLimits(self.min_time, timedelta(seconds=self.max_future_s))

    @property
    def issuer(self) -> Issuer:
        seller = Party(
            name=self.seller_name or UNNAMED_SELLER,
            address=address_lines(self.seller_address or ""),
            tax_id=self.seller_tax_id or None,
            email=self.seller_email or None,
        )
        return Issuer(seller, self.invoice_prefix)

    def signer(self) -> SigningKey | None:
        """Return the key that signs statements, None without one; raises SettingsError for a file without."""
        if self.signing_key:
            return SigningKey(parse_key(self.signing_key.get_secret_value()))
        if self.signing_key_file is None:
            return None
        try:
            return SigningKey(parse_key(self.signing_key_file.read_text()))
        except (OSError, ValueError) as error:
            raise SettingsError(f"PAYG_SIGNING_KEY_FILE holds no key: {error}") from None

    @property
    def late_record_grace(self) -> timedelta:
        return timedelta(seconds=self.late_record_grace_s)


@cache
def load_settings() -> Settings:
    """Return the settings of this process; raises SettingsError with one line that names what is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        why = "is not set" if first["type"] == "missing" else first["msg"].removeprefix("Value error, ")
        name = "PAYG_" + "_".join(str(part) for part in first["loc"]).upper() if first["loc"] else ""
        raise SettingsError(f"{name} {why}".strip()) from None
