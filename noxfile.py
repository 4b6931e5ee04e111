"""The tests with every supported Python and Pyramid; ``make nox`` runs this.

A Python that is not installed is skipped. With ``--tags short`` each Python is tried with one
Pyramid, which takes half the time and misses little.
"""

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "virtualenv"
nox.options.error_on_missing_interpreters = False

PYPROJECT = nox.project.load_toml("pyproject.toml")
PYRAMIDS = {
    # It imports pkg_resources, which setuptools has no more since 82.
    "2.0": ["pyramid==2.0.*", "setuptools<82"],
    "2.1": ["pyramid==2.1.*"],
}
SHORT = {"3.10": "2.1", "3.11": "2.0", "3.12": "2.1", "3.13": "2.0"}


@nox.session
@nox.parametrize(
    ("python", "pyramid"),
    [
        nox.param(python, pyramid, tags=["short"] if pyramid == short else [])
        for python, short in SHORT.items()
        for pyramid in PYRAMIDS
    ],
)
def tests(session: nox.Session, pyramid: str) -> None:
    """Run the tests, but for those that do not depend on these versions."""
    session.install(
        "--editable",
        ".",
        *PYRAMIDS[pyramid],
        *nox.project.dependency_groups(PYPROJECT, "suite"),
    )
    session.run(
        "python",
        "-m",
        "pytest",
        *("--numprocesses", "4", "--dist", "loadfile"),
        *("-m", "not soak and not slow and not browser"),
        *session.posargs,
    )


@nox.session(default=False)
def lint(session: nox.Session) -> None:
    """Check style and types."""
    session.run("make", "lint", external=True)
