"""The house rules, read from the syntax trees: which room may know which, and what is done nowhere."""

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "herd"
MODULES = sorted(ROOT.rglob("*.py"))

# Whom each room may import, besides itself. `simulation` and `net` are two answers to the same ports, so neither knows
# the other; `policy` decides without knowing how anything is said, `protocols` speak without deciding.
BASE = {"types", "errors", "names", "config", ""}
MAY_IMPORT = {
    "": BASE,
    "types": set(),
    "errors": {"types"},
    "names": {"types"},
    "config": {"types", "errors", "names"},
    "runtime": {"types", "errors"},
    "policy": {"types", "errors", "names"},
    "protocols": {"types", "errors", "names", ""},
    "store": {"types", "errors"},
    "actors": BASE | {"runtime", "policy", "protocols", "store"},
    "net": BASE | {"actors", "protocols"},
    "simulation": BASE | {"actors", "runtime", "policy", "protocols", "store"},
    "cli": BASE | {"actors", "net", "simulation", "store", "protocols", "runtime"},
    "__main__": {"cli"},
}

# The same inside the simulator, whose rooms are many.
SIMULATION_MAY_IMPORT = {
    "": set(),
    "clock": set(),
    "watch": set(),
    "http": set(),
    "machine": set(),
    "ollama": {"machine", "watch"},
    "workload": {"machine", "ollama"},
    "fleet": {"machine", "ollama", "clock", "http"},
    "runs": {"machine", "ollama", "workload", "fleet", "clock", "http"},
    "chaos": {"machine", "ollama", "fleet", "http"},
    "comparison": {"machine", "workload", "fleet", "runs"},
}

# And inside the commands: what several of them need is in none of their rooms.
CLI_MAY_IMPORT = {
    "": {"live"},
    "live": {""},
    "remote": {"", "live"},
    "fleet": {"", "live", "remote"},
    "agent": {"", "live", "remote"},
    "doctor": {"", "remote"},
    "simulate": {""},
}

# One home for each library, so that to replace it is the work of one room.
HOMES = {
    "pykka": {"runtime/_pykka.py"},
    "ray": {"runtime/on_ray.py"},
    "msgpack": {"protocols/framing.py", "runtime/codec.py"},
    "sqlite_utils": {"store/"},
    "sqlite3": {"store/"},
    "aiohttp": {"net/"},
    "yarl": {"net/"},
    "zeroconf": {"net/mdns.py"},
    "ifaddr": {"net/mdns.py"},
    "psutil": {"net/"},
    "pynvml": {"net/nvidia.py"},
    "socket": {"net/"},
    "backports": {"net/inflating.py"},
    "compression": {"net/inflating.py"},
    "typer": {"cli/"},
    "rich": {"cli/"},
    "prometheus_client": {
        "net/metrics.py",
        "net/metered_requests.py",
        "net/metered_happenings.py",
        "net/metered_state.py",
        "net/metric_series.py",
    },
    "opentelemetry": {"net/otel.py"},
    "uvloop": {"cli/process.py"},
    "matplotlib": {"simulation/comparison/plots.py"},
    "xllamacpp": {"net/embedded_server.py"},
    # JSON is protocol; the others read or write a few documents of their own, and the fake shares no code with what it
    # tests.
    "orjson": {"protocols/", "net/http_client.py", "cli/talk.py", "simulation/"},
}

# What policy may use: values, and what computes with them.
PURE = {"herd", "dataclasses", "collections", "typing", "types", "math", "enum", "bisect", "functools"}

# Calls that belong in one place only, or in none, and why.
FORBIDDEN = {
    "time.sleep": ("it stops the whole loop", set()),
    "asyncio.sleep": (
        "there is an event for it: only back-off, polls across processes and simulated time may wait for a clock",
        {
            "actors/router_link.py",
            "actors/transcriber.py",
            "cli/fleet/following.py",
            "cli/talk.py",
            "cli/simulate/wall_clock.py",
            "simulation/",
            "net/",
            "runtime/supervision.py",
        },
    ),
    "os.getenv": ("config is the only reader of the environment", set()),
    "uuid.uuid4": ("ids come from a seeded source; Pykka's URNs decide nothing", {"runtime/actor.py"}),
    "print": ("a person is spoken to through the console or the log", {"cli/process.py", "net/embedded_server.py"}),
    "hash": ("it differs from process to process", set()),
}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room_of(path: Path) -> str:
    relative = path.relative_to(ROOT)
    if len(relative.parts) > 1:
        return relative.parts[0]
    return "" if relative.stem == "__init__" else relative.stem


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports_of(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every module that is imported, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            module = node.module or ""
            # `from herd import config` names a room, `from herd.x import y` a module of one.
            yield from ((node.lineno, f"herd.{alias.name}") for alias in node.names if module == "herd")
            if module != "herd":
                yield node.lineno, module


def allowed(path: Path, places: set[str]) -> bool:
    return any(name_of(path).startswith(place) if place.endswith("/") else name_of(path) == place for place in places)


def all_modules(rule: Callable[[Path], None]) -> Callable[[], None]:
    """One test of a rule for every module; it names all that break it."""

    def test() -> None:
        broken: list[str] = []
        for path in MODULES:
            try:
                rule(path)
            except AssertionError as error:
                what = str(error).partition("\n")[0]
                broken.append(what if what.startswith(name_of(path)) else f"{name_of(path)}:{what}")
        assert not broken, "\n".join(broken)

    test.__doc__ = rule.__doc__
    return test


@all_modules
def test_imports_point_one_way_only(path: Path) -> None:
    room = room_of(path)
    for line, module in imports_of(tree_of(path)):
        if module == "herd" or module.startswith("herd."):
            other = module.partition(".")[2].partition(".")[0]
            other = "" if other.startswith("__") else other
            assert other == room or other in MAY_IMPORT[room], f"{name_of(path)}:{line}: {room} may not know {other}"


@all_modules
def test_every_library_has_one_home(path: Path) -> None:
    for line, module in imports_of(tree_of(path)):
        places = HOMES.get(module.partition(".")[0])
        assert places is None or allowed(path, places), f"{name_of(path)}:{line}: {module} lives in {places}"


@all_modules
def test_nothing_is_imported_inside_a_function(path: Path) -> None:
    """Such imports hide a cycle; only what a platform may not have is imported where it is used."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for _, module in imports_of(node):
                assert module == "uvloop" or module in {"msvcrt", "fcntl"}, f"{name_of(path)}:{node.lineno}: {module}"


@all_modules
def test_what_is_done_nowhere_is_not_done_here(path: Path) -> None:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            why, places = FORBIDDEN.get(called, ("", {name_of(path)}))
            assert allowed(path, places), f"{name_of(path)}:{node.lineno}: {called}: {why}"


@all_modules
def test_only_the_commands_hand_in_the_environment(path: Path) -> None:
    """`config` reads it, `cli` hands it in, and the embedded server's child inherits it."""
    reads = [
        node
        for node in ast.walk(tree_of(path))
        if (isinstance(node, ast.Attribute) and ast.unparse(node) in {"os.environ", "os.environb"})
        or (isinstance(node, ast.ImportFrom) and node.module == "os" and "env" in ast.unparse(node))
    ]

    assert not reads or allowed(path, {"cli/", "net/embedded.py"})


@all_modules
def test_the_rooms_of_the_simulator_know_one_another_one_way_only(path: Path) -> None:
    if room_of(path) != "simulation":
        return
    room = path.relative_to(ROOT / "simulation").with_suffix("").parts[0].removeprefix("__init__")
    for line, module in imports_of(tree_of(path)):
        if module.startswith("herd.simulation"):
            other = [*module.split("."), ""][2]
            assert other == room or other in SIMULATION_MAY_IMPORT[room], f"{name_of(path)}:{line} imports {module}"


@all_modules
def test_the_rooms_of_the_commands_know_one_another_one_way_only(path: Path) -> None:
    if room_of(path) != "cli":
        return
    room = path.parent.name.removeprefix("cli")
    for line, module in imports_of(tree_of(path)):
        if module.startswith("herd.cli."):
            other = module.split(".")[2]
            other = other if other in CLI_MAY_IMPORT else ""
            assert other == room or other in CLI_MAY_IMPORT[room], f"{name_of(path)}:{line} imports {module}"


@all_modules
def test_decisions_are_pure(path: Path) -> None:
    """What policy decides can be decided again tomorrow, from the same values."""
    if room_of(path) != "policy":
        return
    tree = tree_of(path)
    for line, module in imports_of(tree):
        assert module.partition(".")[0] in PURE, line
    assert not any(isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.Global) for node in ast.walk(tree))


@all_modules
def test_protocols_are_sans_io(path: Path) -> None:
    if room_of(path) != "protocols":
        return
    tree = tree_of(path)
    assert not any(isinstance(node, ast.AsyncFunctionDef | ast.Await) for node in ast.walk(tree))
    assert not {module for _, module in imports_of(tree)} & {"asyncio", "time", "random", "secrets", "logging", "os"}


@all_modules
def test_no_set_is_walked_through_where_order_decides(path: Path) -> None:
    """The order of a set of strings differs from process to process; a run must be repeatable to the letter."""
    if room_of(path) not in {"policy", "actors", "simulation"}:
        return
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.For | ast.comprehension):
            walked = node.iter
            is_set = isinstance(walked, ast.Set | ast.SetComp) or (
                isinstance(walked, ast.Call) and ast.unparse(walked.func) in {"set", "frozenset"}
            )
            assert not is_set, f"{name_of(path)}: {ast.unparse(walked)}"


@all_modules
def test_no_error_is_swallowed_whole(path: Path) -> None:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ExceptHandler):
            everything = node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"}
            silent = all(isinstance(statement, ast.Pass) for statement in node.body)
            assert not (everything and silent), f"{name_of(path)}:{node.lineno}"


@pytest.mark.parametrize("folder", ["herd", "tests", "docs", "examples", "benchmarks"])
def test_nothing_knows_the_machine_it_was_written_on(folder: str) -> None:
    """A path that exists for one developer works for nobody else, and says where it was written."""
    elsewhere = re.compile(r"(?<![\w.])/(work|home|Users|root|mnt)/\w|\b[A-Z]:\\{1,2}Users|\.\./shared")
    for path in sorted((ROOT.parent / folder).rglob("*")):
        if path.suffix in {".py", ".md", ".toml"} and path != Path(__file__):
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                assert not elsewhere.search(line), f"{path.relative_to(ROOT.parent)}:{number}: {line.strip()}"


@all_modules
def test_files_and_functions_stay_readable(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, "does it hold two rooms?"
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= 75, f"{name_of(path)}:{node.lineno}: {node.name} has {length} lines"
