"""The one error of the demo."""


class DemoError(Exception):
    """The demo can't run, or can't go on; the message is shown to the user as it is."""
