"""Progress: silent when short; when long a bar in a terminal, or a line now and then."""

from myosotis.engine import progress


def test_short_work_is_silent_and_long_work_says_where_it_is(capsys, monkeypatch):
    with progress.progress("counting", 3) as ticker:
        ticker.advance()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "_LINE_EVERY_SECONDS", -1.0)
    with progress.progress("counting", 3) as ticker:
        ticker.advance(2, "(almost)")
    assert capsys.readouterr().err == "  counting (almost): 2/3\n"


def test_work_that_turns_out_to_be_needed_is_added(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_LINE_EVERY_SECONDS", -1.0)
    for total in (None, 2):
        with progress.progress("counting", total) as ticker:
            ticker.expect(3)
            ticker.advance()
        assert capsys.readouterr().err == f"  counting: 1/{3 + (total or 0)}\n"
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(progress, "_BAR_AFTER_SECONDS", -1.0)
    with progress.progress("counting") as ticker:
        ticker.expect(3)
        ticker.advance()
    assert "1/3" in capsys.readouterr().err


def test_a_bar_appears_where_work_is_long(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress.progress("counting", 3) as ticker:
        ticker.advance()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "_BAR_AFTER_SECONDS", -1.0)
    with progress.progress("counting", 3) as ticker:
        ticker.advance(2, "(almost)")
    shown = capsys.readouterr().err
    assert "counting (almost)" in shown
    assert "2/3" in shown
