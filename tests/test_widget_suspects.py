"""The widget of chapter 12b: who is suspected of being replaced."""

from ssl_lessons.book.widgets import suspects


def test_ties_give_cells_away_and_so_does_a_bad_fill():
    assert suspects.detection(0.3, "marginal", "tied") > 0.55
    assert abs(suspects.detection(0.3, "marginal", "loose") - 0.5) < 0.03
    assert suspects.detection(0.3, "code", "loose") > 0.95


def test_the_picture_is_told_in_words():
    assert "loose" in suspects.describe(0.3, "code", "loose")
    suspects.render(0.3, "code", "loose")
