"""Checks that the settings of all experiments share."""


def check_at_least(settings, minimum, *names):
    """Raises a `ValueError` for one of these settings that is below `minimum`; `None` passes."""
    for name in names:
        value = getattr(settings, name)
        if value is not None and not value >= minimum:
            raise ValueError(f"`{name}` must be at least {minimum}. Received: {name}={value}")


def check_above_zero(settings, *names):
    """Raises a `ValueError` for one of these settings that is not above 0."""
    for name in names:
        value = getattr(settings, name)
        if not value > 0:
            raise ValueError(f"`{name}` must be above 0. Received: {name}={value}")


def check_each_once(settings, *names):
    """Raises a `ValueError` for one of these tuples that is empty or repeats a value."""
    for name in names:
        values = getattr(settings, name)
        if not values or len(set(values)) < len(values):
            raise ValueError(
                f"`{name}` must name one or more, each once. Received: {name}={values}"
            )


def check_seed(settings):
    """Raises a `ValueError` for a `seed` out of range."""
    if not 0 <= settings.seed < 2**32 - 1:
        raise ValueError(f"`seed` must be in [0, 2**32 - 1). Received: seed={settings.seed}")
