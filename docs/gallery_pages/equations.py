"""The model block of a docstring, plain text such as ``y_i ~ Normal(mu, sigma)``, as LaTeX."""

from __future__ import annotations

import re
from collections.abc import Iterator

GREEK = set(
    "alpha beta gamma delta epsilon zeta eta theta kappa lambda mu nu xi pi rho sigma tau phi chi psi omega".split()
)
FUNCTIONS = {"log": r"\log ", "exp": r"\exp ", "tan": r"\tan ", "tanh": r"\tanh ", "sum": r"\sum"}
SYMBOLS = {
    "~": r"\sim ", "*": r"\,", "...": r"\ldots ", "'": r"^\top ", "<=": r"\le ", ">=": r"\ge ", "->": r"\to ",
    "``": "", " . ": r"\cdot ", "%": r"\%",
}  # fmt: skip
TOKEN = re.compile(
    r"(?P<dot>\s\.\s)|(?P<space>\s+)|d(?P<derivative>[A-Za-z])/dt|\^(?P<power>-?\w+)|(?P<sqrt>sqrt)\("
    r"|(?P<word>[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)*)(?P<index>_\()?"
    r"|(?P<number>\d+(?:,\d{3})*(?:\.\d+)?)|(?P<symbol>\.\.\.|<=|>=|->|``|.)"
)


def latex(block: str) -> str:
    """An ``aligned`` environment with a row for each line of `block`; what follows a wide gap stands apart."""
    rows = [" & ".join(map(_part, re.split(r" {3,}", line.strip()))) for line in block.splitlines()]
    return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}"


def _part(text: str) -> str:
    """A statement in two columns that meet at its relation; an explanation in the second."""
    if re.fullmatch(r"[\w ,./'-]+", text) and "_" not in text:
        return rf"& \quad \text{{{text}}}"
    line = "".join(_pieces(text))
    relation = re.search(r"\\sim |=|<|\\le ", line)
    if relation is None:
        return r"& \quad " + line
    return f"{line[: relation.start()]} &{{}}{line[relation.start() :]}"


def _pieces(text: str) -> Iterator[str]:
    last = ""
    closing: list[str] = []
    for match in TOKEN.finditer(text):
        kind, token = match.lastgroup, match.group()
        if kind == "space":
            following = text[match.end() : match.end() + 1]
            if last in (",", ";") and len(token) > 1:
                yield r"\qquad "
            elif last in (",", ";") or (last == "word" and (following.isalnum() or following in "(`")):
                # Two names are a product or a phrase, and stand apart in either case.
                yield r"\ "
            continue
        if kind == "derivative":
            yield rf"\frac{{d{match['derivative']}}}{{dt}}"
        elif kind == "power":
            yield f"^{{{_word(match['power'])}}}"
        elif kind == "sqrt":
            yield r"\sqrt{"
            closing.append("}")
        elif match["word"]:
            yield _word(match["word"])
            if match["index"]:
                yield "_{"
                closing.append("}")
        elif token == "(":
            yield "("
            closing.append(")")
        elif token == ")":
            yield closing.pop() if closing else ")"
        elif kind == "number":
            yield token.replace(",", "{,}")
        else:
            yield SYMBOLS.get(token, token)
        operand = match["word"] not in FUNCTIONS if match["word"] else kind in ("number", "power") or token == ")"
        last = "word" if operand else token


def _word(token: str) -> str:
    """A name with its subscripts: Greek, single letters, functions, or upright words."""
    name, *subscripts = token.split("_")
    # In log_dose_i the name goes on, in alpha_i and mu_alpha it ends.
    while subscripts and len(subscripts[0]) > 2 and subscripts[0] not in GREEK and name not in GREEK:
        name = f"{name} {subscripts.pop(0)}"
    if not subscripts:
        return _name(name)
    return f"{_name(name)}_{{{','.join(map(_subscript, subscripts))}}}"


def _subscript(name: str) -> str:
    # In line_i0 and weight_ia there are two indices.
    return name if len(name) <= 2 and name not in GREEK else _name(name)


def _name(name: str) -> str:
    if name in GREEK:
        return rf"\{name} "
    if name in FUNCTIONS:
        return FUNCTIONS[name]
    if len(name) == 1 or name.lstrip("-").isdigit():
        return name
    return rf"\text{{{name}}}"
