"""Configurations: fermipy's sections and keys, and what is wrong with them."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from villard.exceptions import ConfigError
from villard.roi.config import ROIConfig, read_roi_config, resolve_component
from villard.roi.config_keys import REFUSED, TOLD

# Names of fermipy's keys by section, as of its version 1.4.
FERMIPY = json.loads((Path(__file__).parents[1] / "reference" / "fermipy_keys.json").read_text())["sections"]


def test_every_key_of_fermipy_is_known_here_or_is_said_why_not():
    missing = []
    for section, keys in FERMIPY.items():
        field = ROIConfig.model_fields.get(section)
        told = TOLD.get(section, {})
        if isinstance(told, str):
            continue
        known = set() if field is None else set(field.annotation.model_fields)
        known |= set(told) | set(REFUSED.get(section, {})) | set(TOLD["*"])
        missing += [f"{section}.{key}" for key in keys if key not in known]
    assert not missing


def test_all_mistakes_are_told_at_once_with_the_nearest_key(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(
        "binning:\n  roiwith: 3\nselection: {ra: 1, dec: 2, glon: 3, glat: 4}\n"
        "gtlike: {srcmap: a.fits}\noptimiser: {tol: 1}\nsed: {ul_confidence: 95}\n"
    )
    with pytest.raises(ConfigError) as caught:
        read_roi_config(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 5
    assert all(line.startswith(f"{path}: ") for line in lines)
    text = "\n".join(lines)
    assert "gtlike.srcmap: not supported: source maps are computed from exposure and PSF" in text
    assert "unknown key 'optimiser'. Did you mean 'optimizer'?" in text
    assert "binning: unknown key 'roiwith'. Did you mean 'roiwidth'?" in text
    assert "selection: expected one of ra and dec, glon and glat, target, found several" in text
    assert "sed.ul_confidence: Input should be less than 1" in text


def test_keys_that_mean_nothing_are_logged_with_the_reason(caplog):
    config = read_roi_config(
        {
            "logging": {"verbosity": 3},
            "data": {"evfile": "ft1.fits", "ltcube": None},
            "selection": {"zmax": 90, "roicut": "no"},
            "tsmap": {"multithread": True, "max_kernel_radius": 2},
            "gtlike": {"edisp_bins": -1},
        }
    )
    assert config.tsmap.model_dump(exclude_unset=True) == {"max_kernel_radius": 2.0}
    told = [record.getMessage() for record in caplog.records]
    assert [text.split()[1] for text in told] == [
        "logging",
        "data.evfile",
        "selection.zmax",
        "tsmap.multithread",
        "gtlike.edisp_bins",
    ]
    assert "was made when the cube was binned" in told[2]


def test_components_are_merged_over_the_whole():
    config = read_roi_config(
        {
            "selection": {"emin": 1000},
            "gtlike": {"wmap": "w.fits", "psf_method": "kernel"},
            "data": {"psf": "all.fits"},
            "model": {"isodiff": "iso.txt"},
            "components": [
                {"counts": "0.fits", "selection": {"logemin": 4}, "gtlike": {"expscale": 2}},
                {"name": "b", "data": {"psf": "b.fits"}, "model": {"isodiff": {"file": "b.txt"}}},
            ],
        }
    )
    first, second = (resolve_component(config, c, i) for i, c in enumerate(config.components))
    assert (first["name"], first["counts"], first["psf"], first["weights"]) == (
        "component_00",
        "0.fits",
        "all.fits",
        "w.fits",
    )
    assert first["energies"] == (10000.0, None)
    assert (first["gtlike"].expscale, first["gtlike"].psf_method) == (2, "kernel")
    assert first["isodiff"] == ["iso.txt"]
    assert second["psf"] == "b.fits"
    assert second["energies"] == (1000.0, None)
    assert second["isodiff"] == [{"file": "b.txt"}]


def test_files_that_arent_configurations(tmp_path):
    with pytest.raises(ConfigError, match="can't be read"):
        read_roi_config(tmp_path / "none.yaml")
    path = tmp_path / "list.yaml"
    path.write_text("- a\n- b\n")
    with pytest.raises(ConfigError, match="expected keys and values, found list"):
        read_roi_config(path)
    path.write_text("a: [1\n")
    with pytest.raises(ConfigError, match="not a YAML file"):
        read_roi_config(path)


def test_settings_of_calls_are_checked_as_those_of_files():
    from villard.roi.fit import fit_settings
    from villard.roi.options import options

    config = ROIConfig.model_validate({})
    assert options(SimpleNamespace(config=config), "optimizer", {"min_fit_quality": 2}, {}) == {
        "min_fit_quality": 3
    }
    assert fit_settings(None, {})["min_fit_quality"] == 2
    for wrong in ({"tol": "a"}, {"max_iter": 1.5}, {"min_fit_quality": 5}, {"tol": float("nan")}):
        with pytest.raises(ConfigError, match=f"optimizer: {next(iter(wrong))}"):
            fit_settings(None, wrong)
    with pytest.raises(ConfigError, match="cov_scale: Input should be greater than 0, found -1"):
        options(None, "sed", {"cov_scale": 3.0}, {"cov_scale": -1})
    with pytest.raises(ConfigError, match=r"no optimizer 'NEWTN'. Did you mean 'NEWTON'"):
        read_roi_config({"optimizer": {"optimizer": "NEWTN"}})
