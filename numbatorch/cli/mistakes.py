"""Which errors are messages to the user."""


def expected() -> tuple[type[Exception], ...]:
    """Errors that say what the user can change; others are ours and show their traceback."""
    from numbatorch import errors

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    ours = [kind for kind in kinds if issubclass(kind, Exception)]
    return (*ours, OSError, ValueError, FloatingPointError)
