"""Knows what the worker's caller can do something about; nothing raises these but the worker."""


class WorkerError(Exception):
    """Base of what stops a worker; whose fault it is stands in the message's first words."""


class ConfigError(WorkerError):
    """A setting or the configuration file is wrong (the operator's mistake); the message names the option."""


class ModelError(WorkerError):
    """A declared model can't be loaded or can't score (its files or its options are wrong)."""
