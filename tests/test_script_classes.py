"""Classes of the program that runs as ``__main__``: its workers, its modules and itself mean the same ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from .programs import Program
from .workers import Workers

HEAD = """
import copyreg, dataclasses, enum, functools, json, os, typing
from aiotask import App

app = App(os.environ["TEST_APP"])
"""

DEFINITIONS = """
class Color(enum.Enum):
    RED = 1
    BLUE = 2

class Level(enum.IntEnum):
    LOW = 1

Shape = enum.Enum("Shape", "ROUND SQUARE")

@dataclasses.dataclass(frozen=True)
class Point:
    x: int

    class Origin:
        pass

    @staticmethod
    def moved(x):
        return Point(x)

@dataclasses.dataclass(slots=True)
class Slotted:
    x: int

class Pair(typing.NamedTuple):
    left: object
    right: object

class Missing:
    def __reduce__(self):
        return "MISSING"

MISSING = Missing()

class NotFound(Exception):
    pass

T = typing.TypeVar("T")
UserId = typing.NewType("UserId", int)

class Box(typing.Generic[T]):
    pass

def double(x):
    return 2 * x

class Hooked:
    def __init__(self, x):
        self.x = x

def hooked(x):
    return Hooked(x)

copyreg.pickle(Hooked, lambda it: (hooked, (it.x,)))

# No statement of the module binds these names.
globals()["Assigned"] = type("Assigned", (Hooked,), {"kind": "assigned"})
globals()["Side"] = enum.Enum("Side", "LEFT RIGHT")

def define():
    global Declared
    class Declared:
        class Inner:
            pass

define()
"""

LOOK = """
@app.task
def look(kind, value):
    match kind:
        case "class":
            return isinstance(value, Point) and value == Point(1)
        case "match":
            match value:
                case Point(x=1):
                    return True
            return False
        case "enum":
            return value is Color.RED
        case "int enum":
            return value is Level.LOW
        case "functional enum":
            return value is Shape.ROUND
        case "nested":
            return value is Point.Origin
        case "static method":
            return value is Point.moved
        case "slots":
            return type(value) is Slotted
        case "named tuple":
            return type(value) is Pair and type(value.left) is Point and value.right is Color.BLUE
        case "singleton":
            return value is MISSING
        case "type variable":
            return value is T
        case "new type":
            return value is UserId
        case "generic":
            return value == Box[Color] and value.__origin__ is Box
        case "copyreg":
            return type(value) is Hooked
        case "assigned class":
            return type(value) is Assigned and Assigned.kind == "assigned" and value.x == 1
        case "assigned enum":
            return value is Side.LEFT
        case "declared class":
            return type(value) is Declared.Inner
        case "function":
            return value is double
        case "partial":
            return value.func is double
        case "lambda":
            return value(1) == (True, True)
        case "deep":
            return all(type(key) is Point and each is Color.RED for key, each in value["a"][0].items())
        case "by value":
            return value.x == 1 and value.double() == 2

@app.task
def echo(value):
    return value

@app.task
async def fail(text):
    raise NotFound(text)
"""

VALUES = """
VALUES = {
    "class": Point(1),
    "match": Point(1),
    "enum": Color.RED,
    "int enum": Level.LOW,
    "functional enum": Shape.ROUND,
    "nested": Point.Origin,
    "static method": Point.moved,
    "slots": Slotted(1),
    "named tuple": Pair(Point(1), Color.BLUE),
    "singleton": MISSING,
    "type variable": T,
    "new type": UserId,
    "generic": Box[Color],
    "copyreg": Hooked(1),
    "assigned class": Assigned(1),
    "assigned enum": Side.LEFT,
    "declared class": Declared.Inner(),
    "function": double,
    "partial": functools.partial(double, 2),
    "lambda": lambda x: (type(Point(x)) is Point, Point(x) == Point(1)),
    "deep": {"a": [{Point(n): Color.RED for n in range(2_000)}]},
}
"""

ASKS = """
if __name__ == "__main__":
    @dataclasses.dataclass
    class OnlyHere:
        x: int
        def double(self):
            return double(self.x)

    VALUES["by value"] = OnlyHere(1)
    found = {kind: look.apply_async(kind, value).get(timeout=60) for kind, value in VALUES.items()}
    text = echo.apply_async(["__main__", Color.RED]).get(timeout=60)
    found["text"] = text[0] == "__main__" and text[1] is Color.RED
    found["echo"] = echo.apply_async(Point(3)).get(timeout=60) == Point(3)
    found["echo enum"] = echo.apply_async([Color.BLUE]).get(timeout=60)[0] is Color.BLUE
    found["echo of an assigned class"] = type(echo.apply_async(Assigned(2)).get(timeout=60)) is Assigned
    found["echo of what is only here"] = type(echo.apply_async(OnlyHere(2)).get(timeout=60)) is OnlyHere
    try:
        fail.apply_async("no").get(timeout=60)
    except NotFound as error:
        found["error"] = str(error) == "no"
    print(json.dumps(found))
"""


@pytest.fixture(autouse=True)
def _logs(worker_logs: None) -> None:
    """What the workers said is shown with every failure."""


@pytest.mark.parametrize(
    "start",
    [("shop.py",), ("-m", "shop"), ("-m", "cProfile", "-o", "/dev/null", "shop.py")],
    ids=["script", "-m", "cProfile"],
)
def test_a_task_of_the_script_gets_its_own_classes_enums_and_functions(
    workers: Workers, tmp_path: Path, start: tuple[str, ...]
) -> None:
    program = Program(tmp_path / "shop", workers, {"shop.py": HEAD + DEFINITIONS + LOOK + VALUES + ASKS})
    program.serve("shop")

    found = program.run(*start)

    assert len(found) == 28
    assert [kind for kind, same in found.items() if not same] == []


SPAWNS = """
import multiprocessing

def child(answers):
    answers.put([look.apply_async("class", Point(1)).get(timeout=60),
                 echo.apply_async(Color.RED).get(timeout=60) is Color.RED])

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=child, args=(answers,))
    process.start()
    print(json.dumps(answers.get(timeout=80)))
    process.join()
"""


def test_a_spawned_child_means_the_classes_of_its_script(workers: Workers, tmp_path: Path) -> None:
    program = Program(tmp_path / "shop", workers, {"shop.py": HEAD + DEFINITIONS + LOOK + SPAWNS})
    program.serve("shop")

    assert program.run("shop.py") == [True, True]


WRITES = """
if __name__ == "__main__":
    body = app.serializer.dump_call(([Point(1), Color.RED, double, Point.Origin, echo], {}), echo.func)
    print(json.dumps(body.hex()))
"""
READS = """
import json, pickle, sys
body = bytes.fromhex(sys.argv[1])
assert body[:1] == b"P"
(point, color, double, origin, echo), _ = pickle.loads(body[1:])
import shop
print(json.dumps([type(point) is shop.Point, color is shop.Color.RED, double is shop.double,
                  origin is shop.Point.Origin, echo is shop.echo]))
"""


def test_what_a_script_writes_is_plain_pickle_that_any_release_and_any_python_reads(
    workers: Workers, tmp_path: Path
) -> None:
    program = Program(tmp_path, workers, {"shop.py": HEAD + DEFINITIONS + LOOK + WRITES, "reads.py": READS})

    assert program.run("reads.py", program.run("shop.py")) == [True] * 5


NAMED = """
@app.task(name="look")
def look(point):
    return type(point) is Point

if __name__ == "__main__":
    print(json.dumps([look.apply_async(Point(1)).get(timeout=60)]))
"""


def test_workers_started_in_another_directory_find_the_classes_by_the_file_of_the_task(
    workers: Workers, tmp_path: Path
) -> None:
    program = Program(tmp_path, workers, {"src/shop.py": HEAD + DEFINITIONS + NAMED})
    program.serve("src.shop")

    assert program.run("shop.py", folder="src") == [True]


ELSEWHERE = """
from tasks import echo

class Local:
    x = 1

if __name__ == "__main__":
    value = echo.apply_async(Local()).get(timeout=60)
    print(json.dumps([type(value) is Local, echo.apply_async(lambda: 3).get(timeout=60)()]))
"""


def test_a_script_may_give_its_classes_to_tasks_of_workers_that_do_not_have_the_script(
    workers: Workers, tmp_path: Path
) -> None:
    tasks = HEAD + "@app.task\ndef echo(value):\n    return value\n"
    ask = "import sys\nsys.path.append('../code')\n" + HEAD + ELSEWHERE
    program = Program(tmp_path, workers, {"code/tasks.py": tasks, "bin/ask.py": ask})
    program.serve("tasks", folder="code")

    assert program.run("ask.py", folder="bin") == [True, 3]


VIEWS = """
import shop

def view():
    found = {}
    try:
        shop.fail.apply_async("no").get(timeout=60)
    except shop.NotFound:
        found["error"] = True
    except Exception as error:
        found["error"] = repr(type(error))
    found["value"] = type(shop.echo.apply_async(shop.Point(1)).get(timeout=60)) is shop.Point
    found["enum"] = shop.echo.apply_async(shop.Color.RED).get(timeout=60) is shop.Color.RED
    found["look"] = shop.look.apply_async("enum", shop.Color.RED).get(timeout=60)
    return found
"""
VIEWED = """
if __name__ == "__main__":
    import views
    found = views.view()
    # Both copies of the script are here by now.
    try:
        fail.apply_async("no").get(timeout=60)
    except NotFound:
        found["own error"] = True
    found["own value"] = type(echo.apply_async(Point(1)).get(timeout=60)) is Point
    VALUES = {"options": look.options(queue="fast"), "shop": views.shop.look.options(queue="fast")}
    found["own task"] = echo.apply_async(VALUES["options"]).get(timeout=60).func is look.func
    found["task"] = views.shop.echo.apply_async(VALUES["shop"]).get(timeout=60).func is views.shop.look.func
    found["own look"] = look.apply_async("enum", Color.RED).get(timeout=60)
    print(json.dumps(found))
"""


def test_a_module_that_imports_the_script_by_its_name_gets_the_classes_that_it_imported(
    workers: Workers, tmp_path: Path
) -> None:
    program = Program(tmp_path, workers, {"shop.py": HEAD + DEFINITIONS + LOOK + VIEWED, "views.py": VIEWS})
    program.serve("shop")

    found = program.run("shop.py")

    assert len(found) == 9
    assert [what for what, right in found.items() if right is not True] == []


CORE = HEAD
SHARED = """
import json
from core import app

class Found(Exception):
    pass

@app.task
def find():
    raise Found("here")

if __name__ == "__main__":
    import shop
    said = []
    for task, error in ((shop.find, shop.Found), (find, Found)):
        try:
            task.apply_async().get(timeout=60)
        except error:
            said.append(True)
    print(json.dumps(said))
"""


def test_both_copies_of_a_script_may_register_its_tasks_with_the_app_of_another_module(
    workers: Workers, tmp_path: Path
) -> None:
    program = Program(tmp_path, workers, {"core.py": CORE, "shop.py": SHARED})
    program.serve("core", "shop")

    assert program.run("shop.py") == [True, True]
