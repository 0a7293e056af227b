"""Binding: which part of the prediction is computed once, and which in every call.

Each pair of a model and a measurement is sorted by its free parameters: nothing free - folded once
and added to the background; only the amplitude free - folded once for unit amplitude; other
spectral parameters free - the spectrum is integrated and folded in every call; position or shape
free - the source map is computed in every call too. What is evaluated in every call is stacked by
model class and padded to common shapes, so that the compiled function doesn't grow with the number
of sources or measurements.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError, ModelError
from villard.likelihood.flux import flux_of
from villard.likelihood.folding import band_width, stack_bands, stack_matrices
from villard.likelihood.local import LocalGroup, LocalSource, stack_local
from villard.likelihood.map_measurement import CompressedMeasurement, MapMeasurement
from villard.likelihood.measurement import Measurement, Response
from villard.likelihood.point_map import numbers_of
from villard.likelihood.predict import fold
from villard.likelihood.shapes import ShapeFunction
from villard.modeling.models.spectral.core import PureSpectrum
from villard.modeling.parameter import Parameter, Parameters

__all__ = ["Binding", "Block", "bind_models"]

_PAD = 16
#: Maps and events of fewer bins than this are stacked, to be compiled as one.
_STACKED = 1024

#: Row of the stacked responses for each measurement and `Measurement.response_key`.
_Rows = dict[tuple[int, Hashable], int]


@dataclass(frozen=True)
class BlockStructure:
    """What is compiled for one block: the statistic and the code of its spectra and shapes."""

    statistic: str
    groups: tuple[tuple[Hashable, int], ...]
    shapes: tuple[Hashable, ...] = ()
    local: tuple[Hashable, ...] = ()
    compressed: bool = False


@dataclass
class Block:
    """Measurements of one statistic, stacked and padded to one shape."""

    measurements: list[Measurement]
    selections: list[NDArray[np.intp]]
    n_columns: int
    structure: BlockStructure
    pures: tuple[PureSpectrum, ...]
    arrays: dict[str, Any]
    shapes: tuple[ShapeFunction, ...] = ()
    sources: list[tuple[Any, Any]] = field(default_factory=list)
    local: tuple[LocalGroup, ...] = ()

    def pack(self, values: Sequence[NDArray[Any]], fill: float = 1.0) -> NDArray[Any]:
        """Stack one array per measurement, each (..., n_bins), to (..., n_measurements, n_columns).

        Only the bins of the fit range are kept; the padding is filled with ``fill``.
        """
        leading = values[0].shape[:-1]
        dtype = bool if values[0].dtype == bool else float
        packed = np.full((*leading, len(values), self.n_columns), fill, dtype=dtype)
        for row, (value, selection) in enumerate(zip(values, self.selections, strict=True)):
            packed[..., row, : len(selection)] = value[..., selection]
        return packed


@dataclass
class Binding:
    """Arrays and structure of a bound likelihood, ready for the compiled functions."""

    measurements: list[Measurement]
    models: list[Any]
    parameters: Parameters
    free: Parameters
    blocks: list[Block]
    priors: list[tuple[type, NDArray[np.intp], NDArray[np.float64]]] = field(default_factory=list)
    constant: float = 0.0

    @property
    def is_outgrown(self) -> bool:
        """Whether a source, with its parameters as they are now, has left its cutout."""
        return any(source.is_outgrown(model) for block in self.blocks for model, source in block.sources)

    @property
    def n_numbers(self) -> int:
        """About how many numbers one evaluation with derivatives holds."""
        total = 0
        for block in self.blocks:
            # Local derivatives may be spread over all bins, see `villard.likelihood.local.prefers_dense`.
            n_dense = len(self.free)
            total += len(block.measurements) * block.n_columns * (n_dense + 1)
            total += sum(2 * group[_kind(group)].size for group in block.arrays["local"])
            for group in block.arrays["shapes"]:
                total += numbers_of(group["source"]["map"]) * (group["index"].shape[1] + 1)
        return total

    @property
    def key(self) -> Hashable:
        """Identifies the compiled functions that this binding can use."""
        return tuple(b.structure for b in self.blocks), tuple(prior for prior, _, _ in self.priors)


@dataclass
class _Pair:
    """One model in one measurement, which is in one row of its block."""

    row: int
    measurement: Measurement
    model: Any
    pure: PureSpectrum
    parameters: Parameters

    @property
    def shape_parameters(self) -> Parameters:
        """Parameters of the morphology."""
        spatial = getattr(self.model, "spatial_model", None)
        return Parameters([]) if spatial is None else spatial.parameters

    @property
    def has_free_shape(self) -> bool:
        """Whether the source map changes during a fit."""
        on_map = isinstance(self.measurement, CompressedMeasurement)
        return on_map and any(not p.frozen for p in self.shape_parameters)

    @property
    def norm_index(self) -> int:
        """Position of the amplitude, of a pair whose only free parameter it is."""
        assert self.pure.norm_index is not None
        return self.pure.norm_index


def bind_models(
    measurements: Sequence[Measurement | MapMeasurement], models: Sequence[Any], all_bins: bool = False
) -> Binding:
    """Sort and stack everything that the likelihood of these models and measurements needs.

    Parameters
    ----------
    measurements : list of `Measurement` or `MapMeasurement`
        Data and responses.
    models : list of models
        Models.
    all_bins : bool
        Keep also the bins of maps that have no counts: for fits to other counts than these.

    Raises
    ------
    DataError
        If two measurements have the same name.
    ModelError
        If a model contributes to no measurement; the message names it.
    """
    names = [m.name for m in measurements]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"Two datasets are called {name!r}: names must be unique")
    for model in models:
        if not any(model.contributes_to(name) for name in names):
            raise ModelError(
                f"Model {model.name!r} contributes to no dataset: its datasets_names are "
                f"{model.datasets_names}, the datasets are {names}"
            )
    parameters = Parameters(p for model in models for p in model.parameters).unique_parameters
    free = parameters.free_parameters
    position = {id(p): i for i, p in enumerate(parameters)}
    # Free norms on the sky are templates of their own.
    parts = [part for model in models for part in model.linear_parts()]
    bound = [m.compressed(all_bins) if isinstance(m, MapMeasurement) else m for m in measurements]
    blocks = []
    for members in _group(bound):
        pairs = [
            _Pair(row, measurement, model, *flux_of(model, measurement))
            for row, measurement in enumerate(members)
            for model in parts
            if model.contributes_to(measurement.name)
        ]
        blocks.append(_make_block(members, pairs, position))
    priors, constant = _bind_priors(parameters, free)
    constant += sum(m.constant for m in bound if isinstance(m, CompressedMeasurement))
    return Binding(bound, list(models), parameters, free, blocks, priors, constant)


def _group(measurements: Sequence[Measurement]) -> list[list[Measurement]]:
    """Group measurements that can be stacked without padding the small ones to many times their size."""
    groups: dict[tuple[Any, ...], list[Measurement]] = {}
    for measurement in measurements:
        size = measurement.n_bins * (1 if measurement.edisp is None else measurement.n_true)
        bucket = int(np.log2(max(size, 1)) // 4)
        if isinstance(measurement, CompressedMeasurement):
            n = measurement.n_bins
            bucket = -max(2 ** int(n - 1).bit_length() if measurement.coarse else _padded(n), _STACKED)
        shapes = tuple(sorted((name, array.shape[:-1]) for name, array in measurement.data.items()))
        key = (measurement.statistic, measurement.differential, bucket, shapes)
        groups.setdefault(key, []).append(measurement)
    return list(groups.values())


def _padded(size: int) -> int:
    """Round up to a multiple of 16, or of an eighth of the next lower power of 2, to share compilations."""
    step = max(_PAD, 2 ** (int(size).bit_length() - 4)) if size > 256 else _PAD
    return max(_PAD, -(-size // step) * step)


def _make_block(members: list[Measurement], pairs: list[_Pair], position: dict[int, int]) -> Block:
    selections = [np.flatnonzero(m.mask) for m in members]
    n_columns = _padded(max(len(s) for s in selections))
    backgrounds = [
        m.background_of([pair.model for pair in pairs if pair.row == row]).copy()
        for row, m in enumerate(members)
    ]
    norms: list[tuple[_Pair, NDArray[np.float64]]] = []
    spectral: list[tuple[_Pair, Response]] = []
    shapes: list[_Pair] = []
    local: list[LocalSource] = []
    responses = _Responses()
    for pair in pairs:
        free = [i for i, p in enumerate(pair.parameters) if not p.frozen]
        if pair.has_free_shape:
            shapes.append(pair)
            continue
        response = responses(pair)
        if not free:
            backgrounds[pair.row] += response.spread(
                _fold_once(pair, response, None), len(backgrounds[pair.row])
            )
        elif free == [pair.pure.norm_index]:
            template = _fold_once(pair, response, pair.pure.norm_index)
            if response.columns is None:
                norms.append((pair, template))
            else:
                local.append(_local_norm(pair, response, template, position))
        elif response.columns is None:
            spectral.append((pair, response))
        else:
            index = [position[id(q)] for q in pair.parameters]
            local.append(LocalSource(pair.row, response, pair.pure, index))
    rows, kept = _keep_responses(selections, spectral)
    groups, structure = _stack_groups([p for p, _ in spectral], rows, [r.order for r in kept], position)
    functions, shape_groups, sources = _stack_shapes(shapes, n_columns, position)
    local_functions, local_groups = stack_local(local, n_columns)
    block = Block(
        members,
        selections,
        n_columns,
        BlockStructure(
            members[0].statistic,
            tuple(structure),
            tuple(_shape_key(f) for f in functions),
            tuple(f.key for f in local_functions),
            isinstance(members[0], CompressedMeasurement),
        ),
        tuple(group["pure"] for group in groups),
        {},
        tuple(functions),
        sources,
        tuple(local_functions),
    )
    mask = [np.ones(m.n_bins, dtype=bool) for m in members]
    block.arrays = {
        "data": {key: block.pack([m.data[key] for m in members]) for key in members[0].data},
        "mask": block.pack(mask, fill=False),
        "background": block.pack(backgrounds),
        "groups": [{k: v for k, v in group.items() if k != "pure"} for group in groups],
        "shapes": shape_groups,
        "local": local_groups,
        **_stack_responses(rows, kept, n_columns, isinstance(members[0], CompressedMeasurement)),
    }
    if norms:
        block.arrays["norms"] = {
            "template": _pack_templates(block, norms),
            "index": np.array([position[id(p.parameters[p.norm_index])] for p, _ in norms]),
            "row": np.array([p.row for p, _ in norms]),
        }
    return block


class _Responses:
    """Responses of a block, computed once for all models that share one."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, Hashable], Response] = {}

    def __call__(self, pair: _Pair) -> Response:
        key = (pair.row, pair.measurement.response_key(pair.model))
        if isinstance(pair.measurement, CompressedMeasurement):
            return pair.measurement.response(pair.model)
        if key not in self._kept:
            self._kept[key] = pair.measurement.response(pair.model)
        return self._kept[key]


def _fold_once(pair: _Pair, response: Response, norm_index: int | None) -> NDArray[np.float64]:
    """Return the counts of a frozen spectrum, for unit amplitude if ``norm_index`` is given."""
    values = np.array([p.engine_value for p in pair.parameters])
    if norm_index is not None:
        values[norm_index] = 1.0
    return fold(response, pair.pure, values)


def _local_norm(
    pair: _Pair, response: Response, template: NDArray[np.float64], position: dict[int, int]
) -> LocalSource:
    one = Response(np.ones(1), np.ones(1), template[np.newaxis], 0, response.columns)
    return LocalSource(pair.row, one, None, [position[id(pair.parameters[pair.norm_index])]])


def _pack_templates(block: Block, norms: list[tuple[_Pair, NDArray[np.float64]]]) -> NDArray[np.float64]:
    templates = np.zeros((len(norms), block.n_columns))
    for i, (pair, template) in enumerate(norms):
        selection = block.selections[pair.row]
        templates[i, : len(selection)] = template[selection]
    return templates


def _keep_responses(
    selections: list[NDArray[np.intp]], spectral: list[tuple[_Pair, Response]]
) -> tuple[_Rows, list[Response]]:
    """Return the responses in use, restricted to the fit range and to true energies that reach it."""
    rows: _Rows = {}
    kept: list[Response] = []
    for pair, response in spectral:
        key = (pair.row, pair.measurement.response_key(pair.model))
        if key in rows:
            continue
        rows[key] = len(kept)
        matrix = response.matrix[:, selections[pair.row]]
        reach = np.flatnonzero(np.any(matrix != 0, axis=1))
        kept.append(
            Response(response.energy_min[reach], response.energy_max[reach], matrix[reach], response.order)
        )
    return rows, kept


def _kind(group: dict[str, Any]) -> str:
    return "band" if "band" in group else "matrix"


def _stack_responses(rows: _Rows, kept: list[Response], n_columns: int, compressed: bool) -> dict[str, Any]:
    """Stack responses, padded to one shape; those of maps as bands where that saves much."""
    if not kept:
        return {}
    n_true = _padded(max(len(r.matrix) for r in kept))
    matrices = [response.matrix for response in kept]
    width = band_width(matrices) if compressed else 0
    stacked: dict[str, Any] = {
        "response": stack_bands(matrices, n_true, n_columns, width)
        if width
        else stack_matrices(matrices, n_true, n_columns),
        # Padded true energies have no response; any bin with a finite flux will do.
        "energy_min": np.full((len(kept), n_true), 1.0),
        "energy_max": np.full((len(kept), n_true), 1.1),
        "row": np.array([row for row, _ in rows]),
    }
    for i, response in enumerate(kept):
        n = len(response.matrix)
        stacked["energy_min"][i, :n] = response.energy_min
        stacked["energy_max"][i, :n] = response.energy_max
    return stacked


def _stack_groups(
    pairs: list[_Pair], rows: _Rows, orders: list[int], position: dict[int, int]
) -> tuple[list[dict[str, Any]], list[tuple[Hashable, int]]]:
    """Stack the spectra that share their code, in order of first appearance.

    Returns the groups, and for each its key and quadrature order.
    """
    grouped: dict[Hashable, list[tuple[_Pair, int]]] = {}
    for pair in pairs:
        row = rows[pair.row, pair.measurement.response_key(pair.model)]
        shapes = tuple(np.shape(a) for a in pair.pure.arrays)
        grouped.setdefault((pair.pure.key, shapes, orders[row] == 0), []).append((pair, row))
    groups, structure = [], []
    for members in grouped.values():
        pure = members[0][0].pure
        index = [[position[id(q)] for q in pair.parameters] for pair, _ in members]
        response_rows = [row for _, row in members]
        groups.append(
            {
                "pure": pure,
                "index": np.array(index, dtype=int).reshape(len(members), pure.n_parameters),
                "response_row": np.array(response_rows),
                "arrays": tuple(
                    np.stack([np.asarray(pair.pure.arrays[i]) for pair, _ in members])
                    for i in range(len(pure.arrays))
                ),
            }
        )
        structure.append((pure.key, max(orders[row] for row in response_rows)))
    return groups, structure


def _shape_key(function: ShapeFunction) -> Hashable:
    return function.pure.key, function.order, function.map.key


def _stack_shapes(
    pairs: list[_Pair], n_columns: int, position: dict[int, int]
) -> tuple[list[ShapeFunction], list[dict[str, Any]], list[tuple[Any, Any]]]:
    """Stack the sources whose source maps are computed by the same code on equal shapes.

    Returns their functions, the stacked arrays, and all models with their source maps.

    Raises
    ------
    ModelError
        If a morphology has free parameters, but can't be differentiated.
    """
    grouped: dict[Hashable, list[tuple[_Pair, ShapeFunction, dict[str, Any]]]] = {}
    sources = []
    for pair in pairs:
        assert isinstance(pair.measurement, CompressedMeasurement)
        source = pair.measurement.cube.source(pair.model)
        assert source is not None  # a source that lies outside can't have free parameters
        sources.append((pair.model, source))
        if source.map.kind == "image":
            free = [p.name for p in pair.shape_parameters if not p.frozen]
            raise ModelError(
                f"Model {pair.model.name!r}: {type(pair.model.spatial_model).__name__} can't be fitted in "
                f"{free}: freeze them"
            )
        function, arrays = pair.measurement.shape_function(source, pair.model, pair.pure, n_columns)
        arrays["arrays"] = tuple(np.asarray(a) for a in pair.pure.arrays)
        shapes = tuple(np.shape(leaf) for leaf in _leaves(arrays))
        grouped.setdefault((_shape_key(function), shapes), []).append((pair, function, arrays))
    functions, groups = [], []
    for members in grouped.values():
        index = [
            [position[id(q)] for q in (*pair.parameters, *pair.shape_parameters)] for pair, _, _ in members
        ]
        functions.append(members[0][1])
        groups.append(
            {
                "index": np.array(index, dtype=int),
                "row": np.array([pair.row for pair, _, _ in members]),
                "source": _stack_trees([arrays for _, _, arrays in members]),
            }
        )
    return functions, groups, sources


def _leaves(tree: Any) -> list[Any]:
    if isinstance(tree, dict):
        return [leaf for key in sorted(tree) for leaf in _leaves(tree[key])]
    if isinstance(tree, tuple):
        return [leaf for part in tree for leaf in _leaves(part)]
    return [tree]


def _stack_trees(trees: list[Any]) -> Any:
    first = trees[0]
    if isinstance(first, dict):
        return {key: _stack_trees([tree[key] for tree in trees]) for key in first}
    if isinstance(first, tuple):
        return tuple(_stack_trees([tree[i] for tree in trees]) for i in range(len(first)))
    return np.stack(trees)


def _bind_priors(
    parameters: Parameters, free: Parameters
) -> tuple[list[tuple[type, NDArray[np.intp], NDArray[np.float64]]], float]:
    """Stack priors of free parameters by class; sum those of frozen ones.

    Rows hold the prior's values, its weight, and the factor from the engine's unit to the parameter's.
    """
    column = {id(p): i for i, p in enumerate(free)}
    grouped: dict[type, list[tuple[int, list[float]]]] = {}
    constant = 0.0
    for parameter in parameters:
        prior = parameter.prior
        if prior is None:
            continue
        if parameter.frozen:
            constant += parameter.prior_stat_sum()
            continue
        prior = prior.in_unit(parameter.unit, f"Parameter {parameter.name!r}")
        row = [*prior.values.values(), prior.weight, 1.0 / parameter.engine_factor]
        grouped.setdefault(type(prior), []).append((column[id(parameter)], row))
    priors = [
        (cls, np.array([i for i, _ in entries]), np.array([row for _, row in entries]))
        for cls, entries in grouped.items()
    ]
    return priors, constant


def free_columns(parameters: Sequence[Parameter], free: Sequence[Parameter]) -> NDArray[np.intp]:
    """Return for each parameter its column among the free ones, or their number for frozen ones."""
    column = {id(p): i for i, p in enumerate(free)}
    return np.array([column.get(id(p), len(free)) for p in parameters], dtype=int)
