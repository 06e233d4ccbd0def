"""What BitQueue itself refuses or cannot do; edges turn each into a page or a problem document."""

from collections.abc import Mapping


class BitQueueError(Exception):
    """A plain sentence for people: lower case, no full stop, names the thing and the way out."""

    status = 500


class NotFoundError(BitQueueError):
    """Nothing of that id in this workspace (also: it exists in another one)."""

    status = 404


class GoneError(BitQueueError):
    """It was there and is switched off."""

    status = 410


class ForbiddenError(BitQueueError):
    """The person's role does not allow it."""

    status = 403


class ConflictError(BitQueueError):
    """The present state does not allow it."""

    status = 409


class UnavailableError(BitQueueError):
    """Not now: storage is busy, full or away. Nothing was accepted."""

    status = 503


class TooLargeError(BitQueueError):
    status = 413


class InvalidError(BitQueueError):
    """Input that cannot be accepted; `fields` maps a dotted path to its sentence."""

    status = 422

    def __init__(self, message: str, fields: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.fields = dict(fields or {})


class SealError(BitQueueError):
    """A secret that cannot be opened: the key is missing or wrong, or the text is another row's."""

    status = 503
