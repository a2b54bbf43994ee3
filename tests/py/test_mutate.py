"""tests/mutate.py: where a file is changed, and that a change is noticed."""

import sys

from helpers import REPO

sys.path.insert(0, str(REPO / "tests"))
import mutate  # noqa: E402

CODE = """/* a < b */
#define LESS(a, b) ((a) < (b))
int f(int a) {
    int b = a + 1;
    assert(a != b);
    if (a <= b && a > 0) {
        a = 2;
        put("x < y");
    }
    return a - b;
}
"""


def test_operators_and_statements_are_changed_but_no_comments_texts_and_directives():
    found = {(CODE[begin:end], instead) for begin, end, instead in mutate.places(CODE)}
    assert found == {("+", "-"), ("<=", "<"), ("&&", "||"), (">", ">="), ("a = 2;", ";"), ('put("x < y");', ";"),
                     ("-", "+")}


def test_what_hangs_or_fails_is_noticed(tmp_path):
    assert mutate.run(["true"], tmp_path, 5)
    assert not mutate.run(["false"], tmp_path, 5)
    assert not mutate.run(["sleep", "60"], tmp_path, 0.2)
