"""A payment provider that fails, for tracebacks that look like those of a real program."""


class PaymentError(Exception):
    """The shop could not take the money."""


class CardDeclined(PaymentError):
    """The bank said no."""


class ProviderTimeout(PaymentError):
    """The provider did not answer."""


def charge_declined(order_id: str, amount: float) -> None:
    """Fail as a bank does.

    Raises:
        CardDeclined: always.
    """
    reply = {"order": order_id, "amount": amount, "code": "51", "text": "insufficient funds"}
    raise CardDeclined(f"{order_id}: {reply['text']} (code {reply['code']})")


def charge_timed_out(order_id: str, amount: float) -> None:
    """Fail as a provider that does not answer.

    Raises:
        ProviderTimeout: always, with the TimeoutError as its cause.
    """
    try:
        _post("/v2/charges", order_id, amount)
    except TimeoutError as cause:
        raise ProviderTimeout(f"{order_id}: no answer, the charge may have been made") from cause


def _post(path: str, order_id: str, amount: float) -> None:
    raise TimeoutError(f"POST {path} for {order_id} ({amount:.2f} EUR): read timed out after 3 s")
