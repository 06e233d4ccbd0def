"""Python's collector, told what a long-lived process is like."""

import gc

# Young objects of tasks and requests die by themselves; looking for cycles among them less often saves one
# twentieth of a busy process's time.
_THRESHOLDS = (30_000, 30, 50)


def hold_off() -> None:
    """To be called before everything is loaded: looking for garbage among modules takes a fifth of a start."""
    gc.disable()


def settle() -> None:
    """To be called once, when everything is loaded: what is there now stays, and is not looked at again."""
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
    gc.enable()
