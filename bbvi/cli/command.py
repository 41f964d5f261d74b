"""The command ``bbvi``: fit a model, list the gallery, check a model."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bbvi.cli.locate import UsageError, gallery, load_model, with_notes

if TYPE_CHECKING:
    from bbvi.model.model import Model
    from bbvi.result.fit import Fit

OK, FAILED, USAGE = 0, 1, 2

_KINDS = ("best", "mean-field", "full-rank", "low-rank", "linear-response", "importance", "chains")
_SOLVERS = {
    "auto": "auto",
    "fixed-draws": "FixedDraws",
    "natural-gradient": "NaturalGradient",
    "stochastic": "Stochastic",
}

_FIT_HELP = """\
MODEL is the name of a model of the gallery (see 'bbvi models'), or path/to/file.py:name, where name is a
bbvi.Model, or a function without arguments that returns one.

examples:
  bbvi fit eight_schools                          summary, eight_schools.nc and eight_schools.png
  bbvi fit eight_schools --out results --seed 1   the same in the folder results, reproducible
  bbvi fit mymodel.py:model --no-plot             a model of your own
  bbvi fit mymodel.py:one mymodel.py:two          two of them, each with files of its own
  bbvi fit mymodel.py:model --json | jq .khat     figures for a script
  bbvi fit black_box_simulator --estimator score --max-evaluations 20000

The .nc file is read by az.from_netcdf(path) and by bbvi.load(path).

exit status: 0 if every fit converged and its verdict is reliable or caution; 1 if one did not converge or its
verdict is unreliable; 2 for an error in what was asked for, or in the model.
"""

_CHECK_HELP = """\
Tries the log joint at many points and says in plain words what it found: supports, finiteness, gradients
against differences, one draw against many, priors that are not proper, latents that do not matter, and the
optional functions.

examples:
  bbvi check mymodel.py:model
  bbvi check eight_schools
  bbvi check mymodel.py:model --json | jq '.findings[] | select(.grade == "problem")'

exit status: 0 without problems, 1 with, 2 for an error in what was asked for.
"""

_TOP_HELP = """\
start here:
  bbvi fit eight_schools          fit a model of the gallery
  bbvi models                     what there is
  bbvi check mymodel.py:model     try out a model of your own
  bbvi fit mymodel.py:model       fit it
  bbvi fit --help                 all options, with examples

mymodel.py holds, for instance:

  import autograd.numpy as np, bbvi
  from bbvi.stats import norm
  model = bbvi.Model(lambda z, y: norm.logpdf(z.mu, 0, 10) + np.sum(norm.logpdf(y, z.mu, 1)),
                     latents={"mu": bbvi.Real()}, data={"y": [1.2, 0.3, 0.8]})
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; those of the process without it.

    Returns
    -------
    int
        Exit status: 0 all well, 1 an unreliable fit or a model with problems, 2 an error in what was asked
        for, or raised by the model.
    """
    parser = _parser()
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    if arguments.command is None:
        parser.print_help()
        return USAGE
    if arguments.verbose:
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    try:
        return int(arguments.run(arguments))
    except UsageError as error:
        return _usage(arguments, str(error), error.__cause__)
    except BrokenPipeError:
        # Whoever read the output has seen enough.
        sys.stderr.close()
        return OK
    except Exception as error:
        # One of the model's functions raised what carries a note; all else is a defect of the package's own.
        if not getattr(error, "__notes__", None):
            raise
        return _usage(arguments, f"{type(error).__name__}: {with_notes(error)}", error)


def _usage(arguments: argparse.Namespace, message: str, cause: BaseException | None) -> int:
    """Say in one line what was wrong; before it where it was raised, with --verbose."""
    if arguments.verbose and cause is not None:
        traceback.print_exception(cause)
    print(f"bbvi {arguments.command}: {' '.join(message.split())}", file=sys.stderr)
    return USAGE


def fit_command(arguments: argparse.Namespace) -> int:
    """``bbvi fit``."""
    # All of them before the first fit: a name that is wrong is told at once.
    models = [load_model(text) for text in arguments.model]
    prefixes = _prefixes(arguments, [name for _, name in models])
    several, figures, statuses = len(models) > 1, {}, []
    for text, (model, _), prefix in zip(arguments.model, models, prefixes, strict=True):
        result, table = _fitted(model, arguments)
        statuses.append(OK if result.converged and result.verdict != "unreliable" else FAILED)
        if arguments.json:
            figures[text] = _figures(result, table)
        elif not arguments.quiet:
            print(f"{text}\n{result}\n" if several else result)
            _print_beside(result, arguments.kind)
            # The files take longer than the fit; who looks on shall not wait for the summary.
            sys.stdout.flush()
        written = [] if prefix is None else _write(result, prefix, arguments)
        if written and not arguments.quiet:
            to = sys.stderr if arguments.json else sys.stdout
            print(f"\nwritten: {', '.join(map(str, written))}", file=to)
    if arguments.json:
        print(json.dumps(figures if several else next(iter(figures.values())), indent=2))
    return max(statuses)


def _fitted(model: Model, arguments: argparse.Namespace) -> tuple[Fit, Sequence[Any]]:
    """The fit of one model, and the rows of its summary."""
    from bbvi.fitting.fit import fit

    try:
        result = fit(
            model,
            estimator=arguments.estimator,
            solver=_solver(arguments.solver),
            seed=arguments.seed,
            tolerance=arguments.tolerance,
            max_evaluations=arguments.max_evaluations,
            max_seconds=arguments.max_seconds,
            progress=False if arguments.quiet else None,
        )
        return result, result.rows(arguments.kind)
    except (ValueError, TypeError) as error:
        if getattr(error, "__notes__", None):
            raise
        raise UsageError(str(error)) from error


def _print_beside(result: Fit, kind: str) -> None:
    if kind not in ("best", result.kind):
        print(f"\n{kind}:\n{result.summary(kind).to_string(float_format='{:.4g}'.format)}")


def models_command(arguments: argparse.Namespace) -> int:
    """``bbvi models``."""
    known = gallery()
    rows = [(name, known.load(name).dim, known.summary(name)) for name in known.names()]
    if arguments.json:
        print(
            json.dumps(
                [{"name": name, "latents": dim, "summary": text} for name, dim, text in rows], indent=2
            )
        )
        return OK
    width = max(len(name) for name, _, _ in rows)
    print(f"{'model':<{width}}  latents  question")
    for name, dim, text in rows:
        print(f"{name:<{width}}  {dim:>7}  {text}")
    return OK


def check_command(arguments: argparse.Namespace) -> int:
    """``bbvi check``."""
    from bbvi.checking.check_model import check_model

    report = check_model(load_model(arguments.model)[0], seed=0 if arguments.seed is None else arguments.seed)
    if arguments.json:
        findings = [finding._asdict() for finding in report.findings]
        print(json.dumps({"model": repr(report.model), "ok": report.ok, "findings": findings}, indent=2))
    else:
        print(report)
    return OK if report.ok else FAILED


# ---- what a fit leaves behind ------------------------------------------------------------------------------


def _prefixes(arguments: argparse.Namespace, names: Sequence[str]) -> list[Path | None]:
    """Paths of each model's files without their endings, in the folder ``--out``, unless that ends like a file."""
    if arguments.no_files:
        return [None] * len(names)
    out = arguments.out
    path = Path(out or ".")
    of_one = path.suffix in (".nc", ".png") and not path.is_dir()
    if of_one and len(names) > 1:
        raise UsageError(f"--out {out}: expected a folder for the files of {len(names)} models, got the path of one")
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two of the models would write {name}.nc; fit them one by one, each with its own --out")
    prefixes = [path.with_suffix("") if of_one else path / name for name in names]
    try:
        prefixes[0].parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {out}: {error}") from error
    return [*prefixes]


def _write(result: Fit, prefix: Path, arguments: argparse.Namespace) -> list[Path]:
    from bbvi.output.storage import save

    written = []
    try:
        path = prefix.with_name(prefix.name + ".nc")
        save(result, path, arguments.draws, arguments.kind)
        written.append(path)
        if not arguments.no_plot:
            path = prefix.with_name(prefix.name + ".png")
            _save_plot(result, path)
            written.append(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error}") from error
    return written


def _save_plot(result: Fit, path: Path) -> None:
    import matplotlib

    # A file needs no window, and there may be no screen.
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from bbvi.output.plots import plot

    figure = plot(result)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _figures(result: Fit, table: Sequence[Any]) -> dict[str, Any]:
    """The fit as JSON; what is not a finite number is null there."""

    def plain(x: Any) -> Any:
        return None if isinstance(x, float) and not abs(x) < float("inf") else x

    return {
        "status": str(result.status),
        "verdict": result.verdict,
        "reasons": result.reasons,
        "elbo": plain(result.elbo),
        "elbo_se": plain(result.elbo_se),
        "khat": plain(result.khat),
        "kind": result.kind,
        "log_evidence": plain(result.log_evidence),
        "evaluations": result.evaluations,
        "gradient_evaluations": result.gradient_evaluations,
        "seconds": result.seconds,
        "seed": result.seed,
        "summary": {
            row.label: {key: plain(x) for key, x in row._asdict().items() if key != "label"} for row in table
        },
    }


def _solver(name: str) -> Any:
    import bbvi

    return name if name == "auto" else getattr(bbvi, _SOLVERS[name])()


# ---- the command line --------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    from bbvi import __version__

    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="bbvi",
        description="Variational inference for a Python log joint density, with a verdict on its result.",
        epilog=_TOP_HELP,
        formatter_class=plain,
    )
    parser.add_argument("--version", action="version", version=f"bbvi {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    fit = commands.add_parser(
        "fit", help="fit a model: summary, netCDF and picture", epilog=_FIT_HELP, formatter_class=plain
    )
    fit.add_argument("model", metavar="MODEL", nargs="+", help="names in the gallery, or path/to/file.py:name")
    fit.add_argument(
        "--out", metavar="PATH", help="folder of the files, or the path of one: PATH.nc (default: here)"
    )
    fit.add_argument(
        "--kind", choices=_KINDS, default="best", help="which posterior to summarise (default: %(default)s)"
    )
    fit.add_argument("--seed", type=_whole, metavar="N", help="makes the fit reproducible")
    fit.add_argument(
        "--estimator",
        choices=("auto", "pathwise", "score"),
        default="auto",
        help="of gradients (default: auto)",
    )
    fit.add_argument("--solver", choices=tuple(_SOLVERS), default="auto", help="(default: auto)")
    fit.add_argument(
        "--tolerance", type=_positive, default=0.05, metavar="X",
        help="Monte Carlo error left in a mean, in posterior sds (default: %(default)s)",
    )  # fmt: skip
    fit.add_argument("--max-evaluations", type=_whole, metavar="N", help="budget of log joint evaluations")
    fit.add_argument("--max-seconds", type=_positive, metavar="X", help="budget of time")
    fit.add_argument(
        "--draws", type=_whole, default=1000, metavar="N", help="in the netCDF file (default: %(default)s)"
    )
    fit.add_argument("--json", action="store_true", help="print figures as JSON")
    fit.add_argument("--quiet", action="store_true", help="print nothing but errors (and --json)")
    fit.add_argument("--no-plot", action="store_true", help="write no picture")
    fit.add_argument("--no-files", action="store_true", help="write nothing")
    fit.set_defaults(run=fit_command)
    models = commands.add_parser("models", help="list the gallery: name, number of latents, question")
    models.add_argument("--json", action="store_true", help="as JSON")
    models.set_defaults(run=models_command)
    check = commands.add_parser("check", help="try out a model", epilog=_CHECK_HELP, formatter_class=plain)
    check.add_argument("model", metavar="MODEL", help="name in the gallery, or path/to/file.py:name")
    check.add_argument(
        "--seed", type=_whole, metavar="N", help="of the points at which it is tried (default: 0)"
    )
    check.add_argument("--json", action="store_true", help="as JSON")
    check.set_defaults(run=check_command)
    for command in (fit, models, check):
        command.add_argument(
            "--verbose", action="store_true", help="log what happens inside, and show where an error was raised"
        )
    return parser


def _whole(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value < 0:
        raise argparse.ArgumentTypeError(f"expected a whole number of 0 or more, got {text!r}")
    return value


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not value > 0:
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text!r}")
    return value
