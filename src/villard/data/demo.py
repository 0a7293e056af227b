"""The simulated data set that comes with the package."""

from pathlib import Path

from villard.exceptions import DataError
from villard.utils.names import nearest

__all__ = ["demo_path"]

_FOLDER = Path(__file__).with_name("files")


def demo_path(name: str = "") -> Path:
    """Return the path of a file of the demonstration data, or of their folder.

    These are two runs of an imaginary Cherenkov telescope on a source like the Crab Nebula, made by
    `villard.data.make_demo`, and the configuration that ``villard demo`` runs on them.

    Parameters
    ----------
    name : str
        File name, as ``"pha_obs1.fits"``.

    Raises
    ------
    DataError
        If there is no such file.

    Examples
    --------
    >>> demo_path("models.yaml").name
    'models.yaml'
    """
    path = _FOLDER / name
    if not path.exists():
        names = sorted(path.name for path in _FOLDER.iterdir())
        raise DataError(f"No demonstration data of name {name!r}. {nearest(name, names)}")
    return path
