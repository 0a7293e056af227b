"""The command ``villard``. Commands import what they need when they run, so that ``--help`` is quick."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from villard import __version__
from villard.exceptions import FitError, FitSetupError, VillardError

if TYPE_CHECKING:
    from villard.analysis import AnalysisResult
    from villard.config import AnalysisConfig

__all__ = ["app", "main"]

FIT_FAILED = 1
BAD_INPUT = 2

app = typer.Typer(
    name="villard",
    help="Gamma-ray spectra and maps: fits on one compiled likelihood with exact derivatives.",
    epilog="Exit codes: 0 done, 1 a fit failed, 2 wrong input or usage.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
data_app = typer.Typer(help="Public data sets: list and download.", no_args_is_help=True)
app.add_typer(data_app, name="data")

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show where an error occurred.")]


def main() -> None:
    """Run the command line."""
    app()


@contextmanager
def _clean_errors(debug: bool) -> Iterator[None]:
    """Turn wrong input into one message and an exit code."""
    try:
        yield
    except (VillardError, OSError) as error:
        if debug:
            raise
        console = _console(stderr=True)
        console.print("Error:", style="red", end=" ")
        console.print(str(error), soft_wrap=True)
        failed = isinstance(error, FitError) and not isinstance(error, FitSetupError)
        raise typer.Exit(FIT_FAILED if failed else BAD_INPUT) from None


def _console(stderr: bool = False) -> Any:
    from rich.console import Console

    # Names and messages may have square brackets, which aren't meant as markup.
    return Console(stderr=stderr, markup=False, highlight=False)


@app.callback(invoke_without_command=True)
def _main(
    version: Annotated[bool, typer.Option("--version", help="Show the version.", is_eager=True)] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def fit(
    config: Annotated[Path, typer.Argument(help="YAML file; see docs/cli.md for its keys.")],
    folder: Annotated[
        Path | None, typer.Option("--folder", "-o", help="Where results go, instead of output.folder.")
    ] = None,
    overwrite: Overwrite = False,
    debug: Debug = False,
) -> None:
    """Fit models to data as a configuration file says.

    Writes the result as YAML, tables as ECSV and plots as PNG into one folder.
    """
    with _clean_errors(debug):
        from villard.config import read_config

        _run(read_config(config), folder, overwrite)


@app.command()
def tsmap(
    datasets: Annotated[
        list[Path], typer.Argument(help="Cubes of counts: FITS files, or a YAML file of datasets.")
    ],
    models: Annotated[
        Path | None, typer.Option("--models", "-m", help="YAML file of the models of what is known.")
    ] = None,
    fit: Annotated[bool, typer.Option("--fit", help="Fit these models first.")] = False,
    index: Annotated[float, typer.Option(help="Index of the source's power law.")] = 2.0,
    sigma: Annotated[float, typer.Option(min=0, help="Its extension (deg); 0 for a point source.")] = 0.0,
    energy_min: Annotated[str | None, typer.Option(help="Lowest energy to use, such as '1 TeV'.")] = None,
    energy_max: Annotated[str | None, typer.Option(help="Highest energy to use.")] = None,
    kernel_width: Annotated[
        float | None, typer.Option(help="Width of the square in which data are compared (deg).")
    ] = None,
    downsample: Annotated[int | None, typer.Option(min=1, help="Fit only each n-th pixel.")] = None,
    sum_energies: Annotated[
        bool, typer.Option("--sum-energies", help="Add up all energies to an image, instead of fitting them.")
    ] = False,
    threshold: Annotated[float, typer.Option(help="Least significance of peaks (sigma).")] = 5.0,
    min_distance: Annotated[float, typer.Option(min=0, help="Least distance of two peaks (deg).")] = 0.3,
    folder: Annotated[Path, typer.Option("--folder", "-o", help="Where results go.")] = Path("villard-tsmap"),
    plots: Annotated[bool, typer.Option(help="Whether to plot.")] = True,
    overwrite: Overwrite = False,
    debug: Debug = False,
) -> None:
    """Search cubes of counts for sources: fit one at each pixel.

    Writes the maps as FITS, the peaks as ECSV and a plot of both into one folder.
    """
    with _clean_errors(debug):
        from villard.analysis.run import read_datasets
        from villard.analysis.tsmap import TSMapSettings, run_tsmap, write_tsmap
        from villard.analysis.write import check_folder
        from villard.config import energy_range
        from villard.modeling.models import Models
        from villard.utils.paths import make_path

        settings = TSMapSettings(
            index=index,
            sigma=sigma,
            energy_range=energy_range(energy_min, energy_max),
            kernel_width=kernel_width,
            downsampling_factor=downsample,
            joint_energies=not sum_energies,
            threshold=threshold,
            min_distance=min_distance,
            fit=fit,
        )
        target = check_folder(folder, overwrite)
        with _console(stderr=True).status("Reading data and models …") as status:
            data = read_datasets(make_path(path) for path in datasets)
            if models is not None:
                data.models = Models.read(models)
            result = run_tsmap(data, settings, lambda message: status.update(f"{message} …"))
            paths = write_tsmap(result, target, plots=plots, overwrite=overwrite)
        _print_peaks(result.peaks, threshold, result.maps.geom.frame == "galactic")
        typer.echo(f"Wrote {len(paths)} files to {folder}{'' if str(folder).endswith('/') else '/'}")


@app.command()
def simulate(
    config: Annotated[Path, typer.Argument(help="YAML file; see docs/dark_matter.md for its keys.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="FITS file of the events, instead of output.file.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed, instead of random_state.")] = None,
    overwrite: Overwrite = False,
    debug: Debug = False,
) -> None:
    """Draw events of models through the responses of an observation.

    Writes events with their true energies and directions (and the responses) as FITS, and a plot of them.
    """
    with _clean_errors(debug):
        from villard.analysis.simulation import read_simulation_config, run_simulation
        from villard.analysis.simulation_write import check_output, write_simulation

        settings = read_simulation_config(config)
        if seed is not None:
            settings = settings.seeded(seed)
        target = Path(settings.output.file) if output is None else output
        overwrite = overwrite or settings.output.overwrite
        # Before the work, so that nobody waits for a result that can't be written.
        check_output(target, settings.output.plots, overwrite)
        with _console(stderr=True).status("") as status:
            result = run_simulation(settings, lambda message: status.update(f"{message} …"))
            status.update("Writing events …")
            paths = write_simulation(*result, settings.output, target, overwrite)
        typer.echo(str(result[1]))
        typer.echo(f"Wrote {', '.join(str(path) for path in paths)}")


@app.command()
def bayes(
    config: Annotated[Path, typer.Argument(help="YAML file; see docs/bayes.md for its keys.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of results, instead of output.folder.")
    ] = None,
    overwrite: Overwrite = False,
    debug: Debug = False,
) -> None:
    """Infer shares and parameters of components from events: the whole chain, from events to a posterior.

    Events are read or simulated, marginalised and sampled. What is finished is kept in the folder: the same
    command goes on where it was stopped.
    """
    with _clean_errors(debug):
        from villard.analysis.bayes import read_bayes_config, run_bayes

        settings = read_bayes_config(config)
        mixture, posterior, paths = run_bayes(
            settings, output, overwrite, lambda message: typer.echo(f"{message} …", err=True)
        )
        typer.echo(str(mixture))
        typer.echo(str(posterior))
        typer.echo(f"Wrote {', '.join(str(path) for path in paths)}")


@app.command()
def roi(
    config: Annotated[
        Path, typer.Argument(help="YAML file, see docs/roi.md, or FITS file that this command has written.")
    ],
    optimize: Annotated[
        bool, typer.Option("--optimize", help="Optimise norms and shapes, source by source.")
    ] = False,
    fit: Annotated[bool, typer.Option("--fit", help="Fit what --free says, all at once.")] = False,
    free: Annotated[str, typer.Option(help="What is freed for the fit: norm or all.")] = "norm",
    distance: Annotated[
        float | None,
        typer.Option(help="Free only sources within this distance (deg), and diffuse emission."),
    ] = None,
    find_sources: Annotated[
        bool, typer.Option("--find-sources", help="Search for sources and add them.")
    ] = False,
    localize: Annotated[list[str] | None, typer.Option(help="Localise this source; may be repeated.")] = None,
    extension: Annotated[list[str] | None, typer.Option(help="Test this source for extension.")] = None,
    sed: Annotated[list[str] | None, typer.Option(help="SED of this source.")] = None,
    tsmap: Annotated[bool, typer.Option("--tsmap", help="Make a map of TS.")] = False,
    residmap: Annotated[bool, typer.Option("--residmap", help="Make a map of residuals.")] = False,
    psmap: Annotated[bool, typer.Option("--psmap", help="Make a map of deviations (PS).")] = False,
    plots: Annotated[bool, typer.Option("--plots", help="Plot what is made.")] = False,
    output: Annotated[
        str, typer.Option("--output", "-o", help="Name of the files that are written.")
    ] = "roi",
    overwrite: Overwrite = False,
    debug: Debug = False,
) -> None:
    """Fit a region of interest with many sources, as fermipy does.

    Prints the sources and writes tables, models and data, from which the command goes on another time.
    """
    with _clean_errors(debug):
        from villard.roi.run import ROISteps, run_roi

        steps = ROISteps(
            optimize=optimize,
            fit=fit,
            free=free,
            distance=distance,
            find_sources=find_sources,
            localize=localize or [],
            extension=extension or [],
            sed=sed or [],
            tsmap=tsmap,
            residmap=residmap,
            psmap=psmap,
            plots=plots,
        )
        with _console(stderr=True).status("") as status:
            run = run_roi(
                config, steps, output, overwrite or None, lambda message: status.update(f"{message} …")
            )
        typer.echo(str(run.roi))
        for message in run.messages:
            typer.echo(message)
        folder = run.paths[0].parent
        place = "" if folder == Path() else f" to {folder}/"
        typer.echo(f"Wrote {', '.join(path.name for path in run.paths)}{place}")
        if not run.success:
            raise typer.Exit(FIT_FAILED)


def _print_peaks(peaks: Any, threshold: float, is_galactic: bool) -> None:
    from rich.table import Table

    if not len(peaks):
        typer.echo(f"No peak above {threshold:g} sigma")
        return
    table = Table(box=None, pad_edge=False)
    position = ["glon", "glat"] if is_galactic else ["ra", "dec"]
    names = ["sqrt_ts", *position, "flux", "flux_err", "npred_excess"]
    for name in names:
        unit = peaks[name].unit
        title = name if unit is None else f"{name} [{unit.to_string('fits')}]"
        table.add_column(title.replace(" [s-1 cm-2]", "\n[s-1 cm-2]"), justify="right", overflow="fold")
    for row in peaks:
        table.add_row(*(format(float(row[name]), str(peaks[name].info.format)) for name in names))
    _console().print(table)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option("--folder", "-o", help="Where results go.")] = Path("villard-demo"),
    overwrite: Overwrite = False,
    debug: Debug = False,
) -> None:
    """Fit the simulated source that comes with the package; needs no other data."""
    with _clean_errors(debug):
        from villard.config import read_config
        from villard.data import demo_path

        _run(read_config(demo_path("demo.yaml")), folder, overwrite)


def _run(config: AnalysisConfig, folder: Path | None, overwrite: bool) -> None:
    from villard.analysis.run import run_analysis
    from villard.analysis.write import check_folder, write_results

    folder = Path(config.output.folder) if folder is None else folder
    overwrite = overwrite or config.output.overwrite
    # Before the work, so that nobody waits for a result that can't be written.
    check_folder(folder, overwrite)
    with _console(stderr=True).status("") as status:
        result = run_analysis(config, report=lambda message: status.update(f"{message} …"))
        status.update("Writing results …")
        paths = write_results(result, folder, plots=config.output.plots, overwrite=overwrite)
    _print_result(result)
    typer.echo(f"Wrote {len(paths)} files to {folder}{'' if str(folder).endswith('/') else '/'}")
    if not result.fit.success:
        typer.echo(f"The fit failed: {result.fit.message}", err=True)
        raise typer.Exit(FIT_FAILED)


def _print_result(result: AnalysisResult) -> None:
    from rich.table import Table

    console = _console()
    console.print(str(result.fit))
    asymmetric = {row["name"]: row for row in result.intervals} if result.intervals is not None else {}
    models = result.fit.models
    table = Table(box=None, pad_edge=False)
    # What is too wide for the terminal is folded, never cut.
    for title in ("parameter", "value", "error", *(["-/+"] if asymmetric else []), "unit"):
        table.add_column(title, overflow="fold")
    for parameter in models.parameters.unique_parameters:
        name = models.unique_name(parameter)
        row = [name, f"{parameter.value:.4g}", "frozen" if parameter.frozen else f"{parameter.error:.2g}"]
        if asymmetric:
            errors = asymmetric.get(name)
            row.append("" if errors is None else f"-{errors['errn']:.2g} / +{errors['errp']:.2g}")
        table.add_row(*row, parameter.unit.to_string("fits") if str(parameter.unit) else "")
    console.print(table)


@data_app.command("list")
def data_list(
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Where to look for them. Default: $GAMMAPY_DATA.")
    ] = None,
) -> None:
    """List the data sets that can be downloaded by name."""
    from rich.table import Table

    from villard.data.registry import default_folder, public_data

    folder = default_folder() if folder is None else folder
    table = Table("name", "files", "size", "here", "licence", "description", box=None, pad_edge=False)
    for entry in public_data().values():
        here = sum((folder / file.path).exists() for file in entry.files)
        state = "yes" if here == len(entry.files) else f"{here} of {len(entry.files)}" if here else "no"
        size = f"{entry.size / 1e6:.2f} MB"
        table.add_row(entry.name, str(len(entry.files)), size, state, entry.licence, entry.description)
    _console().print(table)


@data_app.command("get")
def data_get(
    name: Annotated[str, typer.Argument(help="Name, as `villard data list` shows it.")],
    folder: Annotated[
        Path | None,
        typer.Option("--folder", help="Where to. Default: $GAMMAPY_DATA, or gammapy-data if it isn't set."),
    ] = None,
    url: Annotated[str | None, typer.Option("--url", help="Address of a mirror.")] = None,
    overwrite: Overwrite = False,
    debug: Debug = False,
) -> None:
    """Download a data set and check each file by its hash. Needs the extra `data`."""
    with _clean_errors(debug):
        from villard.data.registry import download, public_data

        with _console(stderr=True).status("Downloading …") as status:
            folder = download(
                name,
                folder,
                url=url,
                overwrite=overwrite,
                progress=lambda file: status.update(f"{file.path}"),
            )
        entry = public_data()[name]
        typer.echo(f"{name}: {len(entry.files)} files in {folder} (licence: {entry.licence})")
        typer.echo(f"export GAMMAPY_DATA={folder.resolve()}")


@app.command()
def info() -> None:
    """Show versions, fit backends, devices and the compilation cache, as for a bug report."""
    from rich.table import Table

    from villard.utils.info import collect_info

    for title, entries in collect_info().items():
        table = Table(title, "", box=None, pad_edge=False, min_width=30)
        for key, value in entries.items():
            table.add_row(key, value)
        _console().print(table)
        typer.echo()


if __name__ == "__main__":
    main()
