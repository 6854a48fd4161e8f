"""safemarl_lite: an interactive workbook on safe multi-agent reinforcement learning."""


def load(folder, **options):
    """The trained policy of a run folder; see `runs.load`."""
    from .runs import load

    return load(folder, **options)


__all__ = ["load"]
