"""BitQueue: triggers, actions, and one queue that loses nothing."""

__version__ = "0.1.0"
