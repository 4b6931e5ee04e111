"""What runs on hosts that are not here: that it names what there is, and is careful."""

import ast
import itertools
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
HOSTED = ROOT / ".github"
WORKFLOWS = ("ci", "publish")

pytestmark = pytest.mark.skipif(not HOSTED.is_dir(), reason="not in the source that is published")


@pytest.fixture(scope="module")
def parsed(missing):
    """Return a function from a file's path to what it says."""
    try:
        import yaml
    except ImportError:
        missing("PyYAML is not installed")

    class Loader(yaml.SafeLoader):
        """Takes ``on`` for a word, as YAML 1.2 and the host do."""

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":bool")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    return lambda name: yaml.load((ROOT / name).read_text(), Loader)


@pytest.fixture(scope="module", params=WORKFLOWS)
def workflow(request, parsed):
    return parsed(f".github/workflows/{request.param}.yml")


@pytest.fixture(scope="module")
def ci(parsed):
    return parsed(".github/workflows/ci.yml")


@pytest.fixture(scope="module")
def project():
    """Return pyproject.toml; Python 3.10 cannot read it by itself."""
    return pytest.importorskip("tomllib").loads((ROOT / "pyproject.toml").read_text())


def steps(workflow):
    return [step for job in workflow["jobs"].values() for step in job.get("steps", ())]


def commands(workflow):
    """Return what a workflow runs, once for each member of a job's matrix."""
    for job in workflow["jobs"].values():
        matrix = job.get("strategy", {}).get("matrix", {})
        for values in itertools.product(*matrix.values()):
            for step in job.get("steps", ()):
                run = step.get("run", "")
                for name, value in zip(matrix, values, strict=True):
                    run = run.replace(f"${{{{ matrix.{name} }}}}", value)
                yield from run.splitlines()


def supported():
    """Return the Pythons and Pyramids that noxfile.py tries."""
    tree = ast.parse((ROOT / "noxfile.py").read_text())
    found = {
        statement.targets[0].id: statement.value
        for statement in tree.body
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
    }
    return [list(ast.literal_eval(found[name])) for name in ("SHORT", "PYRAMIDS")]


def targets():
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_the_workflows_are_those_that_are_tested_here():
    assert {path.stem for path in (HOSTED / "workflows").iterdir()} == set(WORKFLOWS)


def test_workflows_call_targets_that_there_are(workflow):
    made = [command for command in commands(workflow) if "make" in command]
    assert made
    for command in made:
        assert re.match(r"make ([a-z]+)( |$)", command)[1] in targets()


@pytest.mark.parametrize("name", [".ci/run", "RELEASING.md", "CONTRIBUTING.md"])
def test_others_call_targets_that_there_are(name):
    called = re.findall(r"(?:^|`|5m |0m )make ([a-z]+)", (ROOT / name).read_text(), re.MULTILINE)
    assert set(called) <= targets()


def test_the_host_does_all_that_must_hold_before_a_change(ci):
    here = set(re.findall(r"\bmake ([a-z]+)", (ROOT / ".ci" / "run").read_text()))
    there = {command.split()[1] for command in commands(ci) if command.startswith("make ")}
    assert here <= there
    assert there >= {"lint", "audit", "docs", "dist", "nox", "test"}


def test_every_version_that_is_supported_is_tried(ci):
    pythons, pyramids = supported()
    matrix = ci["jobs"]["versions"]["strategy"]["matrix"]
    assert matrix == {"python": pythons, "pyramid": pyramids}
    called = [re.search(r'"(tests\(.*\))\\"', each) for each in commands(ci) if "make nox" in each]
    assert [each[1].rstrip("\\") for each in called] == [
        f"tests(python='{python}', pyramid='{pyramid}')"
        for python in pythons
        for pyramid in pyramids
    ]


def test_the_package_says_which_versions_are_supported(project):
    pythons, _ = supported()
    said = re.findall(r"Python :: (3\.\d+)", "\n".join(project["project"]["classifiers"]))
    assert said == pythons
    assert project["project"]["requires-python"] == f">={pythons[0]}"
    assert project["tool"]["ruff"]["target-version"] == "py" + pythons[0].replace(".", "")


def test_nothing_is_left_out_for_want_of_a_server(ci):
    tested = [step for step in steps(ci) if step.get("run", "").startswith("make ")]
    assert tested
    assert all(step["env"]["REQUIRE_SERVERS"] == "1" for step in tested)


def test_a_workflow_may_only_read(workflow):
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job.get("permissions", {}).keys() <= {"id-token"}


def test_only_what_publishes_can_say_who_it_is(parsed):
    jobs = parsed(".github/workflows/publish.yml")["jobs"]
    trusted = {name for name, job in jobs.items() if "permissions" in job}
    assert trusted == {"pypi", "testpypi"}
    for name in trusted:
        assert jobs[name]["environment"] == name
        assert "build" in jobs[name]["needs"]
        # What it uploads is what was checked: nothing of the repository runs beside that.
        assert not [step for step in jobs[name]["steps"] if "run" in step]
    assert "ci" in jobs["pypi"]["needs"]


def test_jobs_end(workflow):
    for job in workflow["jobs"].values():
        assert "uses" in job or 0 < int(job["timeout-minutes"]) <= 60
    assert workflow["concurrency"]["group"]


def test_actions_are_pinned(workflow):
    used = [step["uses"] for step in steps(workflow) if "uses" in step]
    assert used
    for action in used:
        # A commit, a major version, or the branch that PyPA tells everybody to name.
        assert re.fullmatch(r"[\w/-]+@([0-9a-f]{40}|v\d+|release/v1)", action), action
        if action.startswith("actions/checkout@"):
            assert all(
                step["with"]["persist-credentials"] == "false"
                for step in steps(workflow)
                if step.get("uses") == action
            )


@pytest.mark.parametrize("name", WORKFLOWS)
def test_there_is_no_secret_and_nothing_of_a_stranger_in_a_command(name, parsed):
    text = (HOSTED / "workflows" / f"{name}.yml").read_text()
    assert not re.search(r"secrets[.\[:]|password:|(?<!id-)token:|pypi-Ag", text)
    assert "pull_request_target" not in text
    for step in steps(parsed(f".github/workflows/{name}.yml")):
        assert not re.search(r"\$\{\{(?! matrix\.)", step.get("run", ""))


def test_dependencies_are_looked_after(parsed):
    updates = parsed(".github/dependabot.yml")["updates"]
    assert {update["package-ecosystem"] for update in updates} == {"github-actions", "pip"}


def test_the_documentation_is_built_as_it_is_here(parsed, project):
    config = parsed(".readthedocs.yaml")
    (group,) = re.findall(r"--group (\w+)", "\n".join(config["build"]["jobs"]["install"]))
    assert group in project["dependency-groups"]
    assert f"\n{group}: .venv-{group}/.made" in (ROOT / "Makefile").read_text()
    assert (ROOT / config["sphinx"]["configuration"]).is_file()
    assert config["sphinx"]["fail_on_warning"] == "true"
    assert config["build"]["tools"]["python"] in supported()[0]


def test_the_groups_that_are_installed_are_there(project):
    groups = project["dependency-groups"]
    makefile = (ROOT / "Makefile").read_text()
    named = set(re.findall(r"\.venv-([a-z]+)/\.made", makefile))
    named |= set(
        re.findall(r'dependency_groups\(PYPROJECT, "(\w+)"\)', (ROOT / "noxfile.py").read_text())
    )
    for members in groups.values():
        named |= {each["include-group"] for each in members if isinstance(each, dict)}
    assert named
    assert named <= groups.keys()
