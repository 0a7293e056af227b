"""Every exception that villard raises for bad input or a failed computation.

All derive from `VillardError`, and from the built-in exception that fits, so that both
``except VillardError`` and ``except ValueError`` work.
"""


class VillardError(Exception):
    """Base class of all exceptions raised by villard."""


class DataError(VillardError, ValueError):
    """A dataset, map or array has content that can't be used."""


class FileFormatError(DataError):
    """A file is damaged or doesn't have the layout that its format asks for."""


class UnitsError(VillardError, ValueError):
    """A unit is unknown or can't be converted to the one expected."""


class ModelError(VillardError, ValueError):
    """A model is unknown, incomplete or doesn't fit the data."""


class ParameterError(VillardError, ValueError):
    """A parameter's name, value or setting isn't allowed."""


class ConfigError(VillardError, ValueError):
    """A configuration has an unknown key or a value that isn't allowed."""


class FitError(VillardError, RuntimeError):
    """A fit can't be started or has no usable result."""


class FitSetupError(FitError, ConfigError):
    """A fit was asked for in a way that can't work: an unknown option, an empty fit range, nothing to fit."""


class CheckpointError(DataError):
    """A checkpoint is damaged, or belongs to another problem than the one that is to go on."""


class OverwriteError(VillardError, FileExistsError):
    """A file exists already and overwriting wasn't asked for."""


class MissingDependencyError(VillardError, ImportError):
    """An optional package is needed; the message names the extra that installs it."""
