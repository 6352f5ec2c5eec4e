"""What every chapter's checkers must do, as one test class made from tables of solutions and of wrong versions."""

import math
from types import ModuleType

import pytest
import torch

from ssl_lessons.book.exercises import NOT_ATTEMPTED
from ssl_lessons.book.exercises.core import Exercise, _tensor, same


def checker_tests(*chapters: ModuleType, correct: dict[str, list], wrong: list[tuple]) -> type:
    """A class to bind to a name that begins with Test.

    chapters: modules of exercises.  correct: checker -> solutions as readers write them.  wrong: (checker, words that
    its verdict must contain, function).
    """
    names = {name: value for chapter in chapters for name, value in vars(chapter).items()}
    checks = {name: value for name, value in names.items() if name.startswith("check_")}
    tables = {name: value for name, value in names.items() if isinstance(value, Exercise)}

    class Checkers:
        def test_every_checker_has_solutions_and_wrong_versions(self):
            assert set(checks) == set(correct) == {name for name, _, _ in wrong}

        @pytest.mark.parametrize(("name", "fn"), [(name, fn) for name, fns in correct.items() for fn in fns])
        def test_correct_solutions_pass(self, name, fn):
            check = checks[name](fn)
            assert check.passed is True, check
            assert str(check).startswith("✓ correct")

        @pytest.mark.parametrize(("name", "words", "fn"), wrong)
        def test_wrong_versions_are_named(self, name, words, fn):
            check = checks[name](fn)
            assert check.passed is False, check
            assert words in check.message, check
            assert str(check).startswith("✗ ")

        @pytest.mark.parametrize("name", tables)
        def test_named_mistakes_are_wrong_and_told_from_each_other(self, name):
            exercise = tables[name]
            inputs = exercise.inputs()
            seen = [("the solution", [_tensor(exercise.reference(*args)) for args in inputs])]
            for message, mistake in exercise.mistakes:
                assert exercise.check(mistake).message == message
                answers = [_tensor(mistake(*args)) for args in inputs]
                for other, values in seen:
                    assert message == other or not all(map(same, answers, values)), (message, other)
                seen.append((message, answers))

        @pytest.mark.parametrize("name", checks)
        def test_a_stub_is_not_attempted(self, name):
            def unfinished(*args):
                raise NotImplementedError

            for fn in (lambda *args: NOT_ATTEMPTED, unfinished, NOT_ATTEMPTED):
                check = checks[name](fn)
                assert check.passed is None
                assert "not attempted yet" in str(check)

        @pytest.mark.parametrize("name", checks)
        def test_failures_are_reported_not_raised(self, name):
            def broken(*args):
                raise KeyError("no <such> key")

            check = checks[name](broken)
            assert check.passed is False
            assert "KeyError" in check.message
            assert "no <such> key" in check.message
            assert "<such>" not in check._repr_html_()
            assert "TypeError" in checks[name](lambda: 1).message
            assert "without calling it" in checks[name](3.0).message
            for value in (None, "a string", 3 + 1j, True, torch.zeros(2, 3, 4, 5), torch.tensor(math.nan), 3):
                verdict = checks[name](lambda *args, value=value: value)
                assert verdict.passed is False, value
                assert verdict.message

        def test_a_check_leaves_the_global_generator_alone(self):
            state = torch.get_rng_state()
            for name, check in checks.items():
                check(correct[name][0])
            assert torch.equal(state, torch.get_rng_state())

    return Checkers
