"""The widget of chapter 10: a rule for the arrow of time."""

from ssl_lessons.book.widgets import arrow


def test_without_loss_the_rule_is_a_coin_and_with_loss_it_is_not():
    assert abs(arrow.rule_accuracy(0.0, 8) - 0.5) < 0.04
    assert arrow.rule_accuracy(0.6, 16) > 0.75
    assert arrow.rule_accuracy(0.4, 8) > arrow.rule_accuracy(0.1, 8) + 0.1


def test_the_question_is_answered_inside_the_sliders():
    """Three times in four: reached at 8 frames, not at 3."""
    losses = [0.05 * k for k in range(13)]
    assert max(arrow.rule_accuracy(loss, 8) for loss in losses) > 0.75
    assert max(arrow.rule_accuracy(loss, 3) for loss in losses) < 0.75


def test_the_picture_is_told_in_words():
    assert "40%" in arrow.describe(0.4, 8) and "8 frames" in arrow.describe(0.4, 8)
    arrow.render(0.4, 8)
