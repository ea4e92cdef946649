import ast
import pathlib
import re


def test_the_readmes_python_example_runs_and_gives_what_it_says():
    readme = pathlib.Path(__file__).parents[1] / "README.md"
    (example,) = re.findall(r"^```python\n(.*?)^```", readme.read_text(), re.DOTALL | re.MULTILINE)
    *statements, last = ast.parse(example).body
    names = {}
    exec(compile(ast.Module(statements, []), "README.md", "exec"), names)
    shown = eval(compile(ast.Expression(last.value), "README.md", "eval"), names)
    assert shown == int(example.rsplit("#", 1)[1])
