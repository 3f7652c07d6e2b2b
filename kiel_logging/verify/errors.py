"""The one error of the command."""


class CannotVerify(Exception):
    """The topics can't be checked; the message is shown to the user as it is."""
