"""The whole vocabulary in which an integration fails; each message is shown to a person."""


class IntegrationError(Exception):
    """A plain sentence that names the thing and the way out; never a secret, never a whole body."""


class AuthError(IntegrationError):
    """The account's credentials were refused: the connection is broken until a person mends it."""


class RejectedError(IntegrationError):
    """The request is wrong and will stay wrong: failed, not retried."""


class TemporaryError(IntegrationError):
    """May succeed later.

    `after` is the least wait in seconds, as the service asked for it (`Retry-After`).
    `sent` is false when the request provably never left: even a non-repeatable action may then be retried.
    """

    def __init__(self, message: str, *, after: float | None = None, sent: bool = True) -> None:
        super().__init__(message)
        self.after = after
        self.sent = sent


class RefusedError(IntegrationError):
    """An inbound call that fails verification or cannot be read; `status` is what the caller gets."""

    def __init__(self, message: str, *, status: int = 401) -> None:
        super().__init__(message)
        self.status = status
